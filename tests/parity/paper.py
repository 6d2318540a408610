"""The equations of Click-Gaussian (arXiv 2407.11793v1), a function each for one level, as literal and slow as it gets.

Loops over the sums' indices, one similarity at a time, for autograd to differentiate in float64. `<a, b>` is cosine
similarity; that of a zero vector, which the paper leaves open, is 0.
"""

import math

import torch
from torch import Tensor


def similarity(a: Tensor, b: Tensor) -> Tensor:
    product = a.norm() * b.norm()
    return (a * b).sum() / product if product > 0 else (a * b).sum() * 0.0


def equation_3(F: Tensor, M: Tensor) -> Tensor:
    """Positive contrastive term, P1 = P2 = all the rows."""
    total = F.sum() * 0.0
    for p1 in range(len(F)):
        for p2 in range(len(F)):
            if M[p1] == M[p2]:
                total = total + similarity(F[p1], F[p2])
    return -total / (len(F) * len(F))


def equation_4(F: Tensor, M: Tensor, tau: float, num_coarse: int = 0) -> Tensor:
    """Negative contrastive term; F^f = sg(F^c) (+) rest, where F^c is the first `num_coarse` channels."""
    F = torch.cat([F[:, :num_coarse].detach(), F[:, num_coarse:]], dim=1)
    total = F.sum() * 0.0
    for p1 in range(len(F)):
        for p2 in range(len(F)):
            S = similarity(F[p1], F[p2])
            if M[p1] != M[p2] and tau < S:
                total = total + S
    return total / (len(F) * len(F))


def equation_7(f: Tensor, clusters: Tensor, tau_g: float) -> Tensor:
    total = f.sum() * 0.0
    for f_i in f:
        S = torch.stack([similarity(f_i, c) for c in clusters])
        c_i = int(S.argmax())
        if S[c_i] > tau_g:
            total = total + S[c_i]
    return -total / len(f)


def equation_8(f: Tensor, clusters: Tensor, tau: float) -> Tensor:
    total = f.sum() * 0.0
    for f_i in f:
        S = torch.stack([similarity(f_i, c) for c in clusters])
        c_i = int(S.argmax())
        for c in range(len(clusters)):
            if c != c_i and S[c] > tau:
                total = total + S[c] / len(clusters)
    return total / len(f)


def equation_10(f: Tensor, num_coarse: int) -> Tensor:
    total = f.sum() * 0.0
    for f_i in f:
        coarse, rest = f_i[:num_coarse], f_i[num_coarse:]
        total = total + (coarse.norm() - 1) ** 2 + (rest.norm() - 1) ** 2
    return total / len(f)


def equation_11(F: Tensor, level: str) -> Tensor:
    r = {"coarse": 1.0, "fine": math.sqrt(2)}[level]
    total = F.sum() * 0.0
    for F_p in F:
        total = total + (F_p.norm() - r) ** 2
    return total / len(F)


def equation_12(f: Tensor, means: Tensor, sampled: Tensor, K: int) -> Tensor:
    """K nearest by brute force; the caller's centres must have no ties."""
    total, count = f.sum() * 0.0, 0
    for i in sampled.nonzero()[:, 0].tolist():
        distances = (means.double() - means[i].double()).norm(dim=1)
        distances[i] = math.inf
        nearest = distances.argsort()[: min(K, len(f) - 1)].tolist()
        for k in nearest:
            total, count = total + similarity(f[i], f[k]), count + 1
    return -total / count
