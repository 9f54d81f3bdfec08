"""The PyTorch reference network computes the same as ichjax."""

import numpy as np
import pytest

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def loaded(reference, ours):
    machine = reference.Machine(ours.config.model.base_width, "float32", compiled=False)
    reference.load_ours(machine.model, ours.params)
    return machine


def as_ours(model, value):
    """{layer: {'kernel', 'bias'}} of value(parameter)."""
    return {
        name: {"kernel": value(own.weight).numpy().transpose(2, 3, 1, 0), "bias": value(own.bias).numpy()}
        for name, own in model.convolutions.items()
    }


def test_outputs_agree(torch_reference, ours):
    machine = loaded(torch_reference, ours)
    machine.network.eval()
    with torch_reference.torch.inference_mode():
        result = torch_reference.torch.sigmoid(machine.network(machine.place(ours.images)))
    assert ours.probability.std() > 0.01  # not constant
    np.testing.assert_allclose(result[:, 0].cpu(), ours.probability, rtol=0, atol=1e-5)


def test_the_measured_training_step_equals_ours(torch_reference, ours):
    """Loss, gradient and the first update of Adam."""
    machine = loaded(torch_reference, ours)
    machine.network.eval()  # no dropout
    trainer = torch_reference.Trainer(machine)
    loss = trainer.step(machine.place(ours.images), machine.place(ours.masks))
    np.testing.assert_allclose(float(loss), ours.loss, rtol=1e-5)
    ours.assert_same_gradient(as_ours(machine.model, lambda parameter: parameter.grad.cpu()))
    ours.assert_same_first_update(as_ours(machine.model, lambda parameter: parameter.detach().cpu()))


def test_size_layout_and_dropout(torch_reference):
    machine = torch_reference.Machine(64, "float32", compiled=False)
    assert sum(parameter.numel() for parameter in machine.model.parameters()) == 31_031_685
    assert len(machine.model.convolutions) == 24
    channels_last = torch_reference.torch.channels_last
    images = machine.place(np.zeros((2, 16, 16, 1), np.float32))
    weights = [own.weight for own in machine.model.convolutions.values()]
    assert all(array.is_contiguous(memory_format=channels_last) for array in (images, *weights))
    machine.network.train()
    with torch_reference.torch.inference_mode():
        random = machine.place(np.random.default_rng(0).random((2, 32, 32, 1), np.float32))
        assert not torch_reference.torch.equal(machine.network(random), machine.network(random))
        machine.network.eval()
        assert torch_reference.torch.equal(machine.network(random), machine.network(random))


def test_bfloat16_is_used_if_configured(torch_reference, ours):
    machine = torch_reference.Machine(4, "bfloat16", compiled=False)
    with torch_reference.torch.inference_mode(), machine.precision():
        assert machine.network(machine.place(ours.images)).dtype == torch_reference.torch.bfloat16


def test_other_layers_are_refused(torch_reference, ours):
    params = {name: layer for name, layer in ours.params.items() if name != "head"}
    with pytest.raises(ValueError, match=r"expected .*head"):
        torch_reference.load_ours(torch_reference.UNet(width=4), params)
