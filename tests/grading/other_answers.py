"""Right answers by other mathematics than the master's, for several exercises of unit 05."""

from __future__ import annotations

from dataclasses import dataclass

from tests.grading.notebooks import source_of


@dataclass(frozen=True)
class Other:
    """One answer: which exercise, its cell, and the cells before and after it."""

    name: str
    source: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


NORM = "normalized_adjacency"
MEAN = "neighbor_mean"
APART = "told_apart"
FAR = "smoothing_distance"
BODY = "    return (1 + eps) * h + adjacency @ h\n"
DEF = "def gin_aggregate(h, adjacency, eps):\n"

ANSWERS = {
    "einsum for the product": Other(
        "gin_aggregate", DEF + '    return h + eps * h + torch.einsum("uv,vf->uf", adjacency, h)\n'
    ),
    "loops over nodes": Other(
        "gin_aggregate",
        DEF
        + """    rows = []
    for v in range(len(h)):
        row = (1 + eps) * h[v]
        for u in range(len(h)):
            if adjacency[v, u]:
                row = row + adjacency[v, u] * h[u]
        rows.append(row)
    return torch.stack(rows)
""",
    ),
    "in place": Other(
        NORM,
        """def normalized_adjacency(adjacency):
    adjacency += torch.eye(len(adjacency))
    d = adjacency.sum(1).rsqrt_()
    adjacency.mul_(d).mul_(d.unsqueeze(1))
    return adjacency
""",
    ),
    "float64 inside": Other(
        FAR,
        """def smoothing_distance(h, adjacency):
    h, a = h.double(), adjacency.double()
    u = (a.sum(1) + 1).sqrt()
    u /= u.norm()
    return (h - torch.outer(u, u @ h)).norm() / h.norm()
""",
    ),
    "a plain number": Other(
        FAR,
        """def smoothing_distance(h, adjacency):
    u = (adjacency.sum(1) + 1).sqrt()
    rest = h - torch.outer(u, u @ h) / (u @ u)
    return float(rest.norm() / h.norm())
""",
    ),
    "numpy where no gradient is needed": Other(
        FAR,
        """import numpy as np

def smoothing_distance(h, adjacency):
    h, a = h.numpy(), adjacency.numpy()
    u = np.sqrt(a.sum(1) + 1)
    u = u / np.linalg.norm(u)
    return np.linalg.norm(h - np.outer(u, u @ h)) / np.linalg.norm(h)
""",
    ),
    "numpy array as the result": Other(
        NORM,
        """def normalized_adjacency(adjacency):
    import numpy
    loops = adjacency.numpy() + numpy.eye(len(adjacency))
    d = loops.sum(1) ** -0.5
    return d[:, None] * loops * d
""",
    ),
    "an eigenvector from linalg": Other(
        FAR,
        """def smoothing_distance(h, adjacency):
    loops = (adjacency + torch.eye(len(adjacency))).double()
    d = loops.sum(1) ** -0.5
    values, vectors = torch.linalg.eigh(d[:, None] * loops * d)
    u = vectors[:, -1:]
    h = h.double()
    return (h - u @ (u.T @ h)).norm() / h.norm()
""",
    ),
    "a list of bools": Other(
        APART,
        """def told_apart(left, right):
    pairs = ((f(left), f(right)) for f in (lambda m: m.sum(0), lambda m: m.mean(0), lambda m: m.max(0).values))
    return [bool((a - b).abs().max() > 1e-5 + 1e-5 * b.abs().max()) for a, b in pairs]
""",
    ),
    "a nested list of numbers": Other(
        NORM,
        """def normalized_adjacency(adjacency):
    a = [[float(i == j) + adjacency[i, j].item() for j in range(len(adjacency))] for i in range(len(adjacency))]
    d = [sum(row) ** 0.5 for row in a]
    return [[a[i][j] / d[i] / d[j] for j in range(len(a))] for i in range(len(a))]
""",
    ),
    "scatter and bincount": Other(
        MEAN,
        """def neighbor_mean(x, edge_index):
    src, dst = edge_index[0], edge_index[1]
    out = torch.zeros_like(x).scatter_add(0, dst[:, None].expand(-1, x.shape[1]), x[src])
    return out / torch.bincount(dst, minlength=len(x)).clamp(min=1).unsqueeze(-1)
""",
    ),
    "a dense matrix instead of edges": Other(
        MEAN,
        """def neighbor_mean(x, edge_index):
    a = torch.zeros(len(x), len(x))
    for s, t in edge_index.T.tolist():
        a[t, s] += 1
    return (a / a.sum(1, keepdim=True).clamp(min=1)) @ x
""",
    ),
    "a sparse matrix": Other(
        MEAN,
        """def neighbor_mean(x, edge_index):
    n = len(x)
    a = torch.sparse_coo_tensor(edge_index.flip(0), torch.ones(edge_index.shape[1]), (n, n))
    count = torch.sparse.sum(a, 1).to_dense().clamp(min=1)
    return torch.sparse.mm(a, x) / count[:, None]
""",
    ),
    "index_put and a where": Other(
        MEAN,
        """def neighbor_mean(x, edge_index):
    total = x.new_zeros(x.shape).index_put((edge_index[1],), x[edge_index[0]], accumulate=True)
    count = torch.stack([(edge_index[1] == v).sum() for v in range(len(x))])[:, None]
    return torch.where(count > 0, total / torch.where(count > 0, count, 1), 0.0)
""",
    ),
    # a class by other means
    "a layer that inherits and has more methods": Other(
        "GCNLayer",
        """class Base(nn.Module):
    def __init__(self):
        super().__init__()
    def mix(self, m, x):
        return torch.einsum("ij,jk->ik", m, x)

class GCNLayer(Base):
    count = 0
    def __init__(self, n_in, n_out, *, gain=1.0):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.zeros(n_in, n_out), gain))
        self.register_parameter("bias", nn.Parameter(torch.zeros(n_out)))
        self.reset = self.reset_parameters
        GCNLayer.count += 1
    def reset_parameters(self):
        nn.init.xavier_uniform_(self.weight)
    def extra_repr(self):
        return f"{self.weight.shape}"
    @property
    def wide(self):
        return self.weight.shape[0]
    @staticmethod
    def add(a, b):
        return a + b
    def forward(self, x, matrix):
        assert x.shape[1] == self.wide
        return self.add(self.mix(matrix, x) @ self.weight, self.bias)
""",
    ),
    "a layer that keeps its parameters in linear.weight's place": Other(
        "GCNLayer",
        """class GCNLayer(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        a = (6 / (i + o)) ** 0.5
        self.weight = nn.Parameter((torch.rand(i, o) * 2 - 1) * a)
        self.bias = nn.Parameter(torch.zeros(o))
    def forward(self, x, matrix):
        return F.linear(matrix @ x, self.weight.t(), self.bias)
""",
    ),
    # training and sampling by other means
    "a classifier with the own layer, early stopping and tqdm": Other(
        "node_classifier",
        """from tqdm.auto import tqdm

class Net(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.one, self.two, self.drop = GCNLayer(i, 32), GCNLayer(32, o), nn.Dropout(0.3)
    def forward(self, x, m):
        return self.two(self.drop(torch.relu(self.one(x, m))), m)

def node_classifier(x, matrix, labels, train_mask, num_classes):
    torch.manual_seed(3)
    net = Net(x.size(1), num_classes)
    opt = torch.optim.AdamW(net.parameters(), lr=2e-2, weight_decay=1e-2)
    for step in tqdm(range(80)):
        net.train()
        opt.zero_grad()
        loss = nn.CrossEntropyLoss()(net(x, matrix)[train_mask], labels[train_mask])
        loss.backward()
        opt.step()
        if loss.item() < 0.02:
            break
    net.eval()
    with torch.no_grad():
        return net(x, matrix)
""",
        before=(source_of("GCNLayer"),),
    ),
    "a sampler by the inverse of the distribution function": Other(
        "sampled_sum",
        """def sampled_sum(h, q, k, draws, generator):
    u = torch.rand(draws, k, generator=generator, dtype=torch.float64)
    i = torch.searchsorted(q.double().cumsum(0), u).clamp(max=len(q) - 1)
    return (h[i] / q[i].unsqueeze(-1)).mean(1)
""",
    ),
    "a sampler one estimate at a time": Other(
        "sampled_sum",
        """def sampled_sum(h, q, k, draws, generator):
    out = torch.zeros(draws, h.size(1))
    for d in range(draws):
        for i in torch.multinomial(q, k, replacement=True, generator=generator).tolist():
            out[d] += h[i] / q[i] / k
    return out
""",
    ),
}
