import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from fleetfront.graphs.torch_depthwise import depthwise_conv2d, is_faster  # noqa: E402


@settings(max_examples=25, deadline=None)
@given(
    side=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    kernel=st.sampled_from([3, 5, 7]),
    stride=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
def test_gradients_are_those_of_torch(side, kernel, stride, seed):
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn(3, 4, *side, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 1, kernel, kernel, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.conv2d(data, weight, None, stride, kernel // 2, 1, 4)
    actual = depthwise_conv2d(data, weight, stride, kernel // 2)
    torch.testing.assert_close(actual, expected)
    upstream = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    expected_gradients = torch.autograd.grad(expected, (data, weight), upstream)
    torch.testing.assert_close(torch.autograd.grad(actual, (data, weight), upstream), expected_gradients)


def test_used_only_where_a_gradient_of_a_large_kernel_is_wanted():
    data = torch.randn(2, 4, 8, 8)
    weight = torch.randn(4, 1, 7, 7, requires_grad=True)
    assert is_faster(data, weight, 1, 3, 4)
    assert not is_faster(data, weight.detach(), 1, 3, 4)
    assert not is_faster(torch.randn(2, 4, 16, 16), weight, 1, 3, 4)
    assert not is_faster(data, torch.randn(4, 1, 3, 3, requires_grad=True), 1, 1, 4)
    assert not is_faster(data, torch.randn(4, 4, 7, 7, requires_grad=True), 1, 3, 1)
    with torch.no_grad():
        assert not is_faster(data, weight, 1, 3, 4)
