"""Products with sparse rows that are never held whole, against dense ones."""

import numpy as np
import pytest

from click_gaussian_ns.raster import sparse


@pytest.mark.parametrize(("num_columns", "num_values"), [(1, 1), (300, 7), (9000, 40)])
def test_sums_by_label_and_the_two_largest(num_columns: int, num_values: int) -> None:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((30, num_columns)) < 0.2, rng.random((30, num_columns)), 0.0).astype(np.float32)
    rows, columns = np.nonzero(dense)
    offsets = np.searchsorted(rows, np.arange(31)).astype(np.int64)
    matrix = (offsets, columns.astype(np.int32), dense[rows, columns])
    labels = rng.integers(-1, 5, num_columns).astype(np.int32)
    expected = np.stack([dense[:, labels == label].sum(axis=1) for label in range(5)], axis=1)
    np.testing.assert_allclose(sparse.sum_by_label(*matrix, labels, 5), expected, rtol=1e-5, atol=1e-5)

    values = rng.random((30, num_values), dtype=np.float32)
    place, most = sparse.two_largest_transposed(*matrix, values, num_columns)
    product = np.concatenate([dense.T @ values, np.zeros((num_columns, 1), np.float32)], axis=1)
    np.testing.assert_allclose(most, -np.sort(-product, axis=1)[:, :2], rtol=1e-5, atol=1e-6)
    nothing = product.max(axis=1) == 0
    np.testing.assert_array_equal(place[nothing], -1)
    np.testing.assert_allclose(product[~nothing, place[~nothing]], most[~nothing, 0], rtol=1e-5)
