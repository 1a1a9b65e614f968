"""The clauses of a model, one function each: `Broken` where one does not hold."""

from collections.abc import Callable

import torch

from genzoo.contract import Loss
from genzoo.testing.cases import SIZE, Broken, ModelCase, global_seed, look_at_x, same


def loss_is_of_each_example(case: ModelCase) -> None:
    with torch.no_grad():
        loss = case.loss()
    if not isinstance(loss, Loss):
        raise Broken(f"loss returns {type(loss).__name__}", "return genzoo.contract.Loss(value)")
    value = loss.value
    if tuple(value.shape) != (SIZE,) or not value.is_floating_point():
        what = f"{value.dtype} {tuple(value.shape)}"
        raise Broken(f"the loss of {SIZE} examples is {what}", "give one float an example, [B], and take no mean")
    if not value.isfinite().all():
        raise Broken(f"the loss is {value.tolist()}", "see that it is a number from the first weights on")


def loss_depends_on_the_batch(case: ModelCase) -> None:
    with torch.no_grad():
        first, *others = [case.loss(step).value for step in range(4)]
    if all(same(first, other) for other in others):
        raise Broken("four different batches have the same loss", "compute it from batch.x")


def loss_is_pure(case: ModelCase) -> None:
    with torch.no_grad():
        with global_seed(1):
            first = case.loss().value
        with global_seed(2):
            case.loss(1)
            again = case.loss().value
    if not same(first, again):
        raise Broken("the same batch and generator gave two losses", "draw from the generator and remember nothing")


def gradient_reaches_parameters(case: ModelCase) -> None:
    parameters = {name: p for name, p in case.model.named_parameters() if p.requires_grad}
    value = case.loss().value.mean()
    if not value.requires_grad or not parameters:
        raise Broken("the loss has no gradient", "compute it from the parameters, without detach or no_grad")
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    bad = [name for name, g in zip(parameters, found, strict=True) if g is not None and not g.isfinite().all()]
    if bad:
        raise Broken(f"the gradient of {bad[0]} is no number", "look for roots, logarithms and divisions of 0")
    if not any(g is not None and g.any() for g in found):
        raise Broken("the gradient of every parameter is 0", "let the loss depend on the parameters")


def samples_fit_the_spec(case: ModelCase) -> None:
    x, options = case.samples(case.noise()), case.request().options
    want: tuple[int, ...] = case.model.spec.shape
    if "length" in options and options["length"] is not None:
        want = (options["length"],)
    if options.get("points"):
        want = (options["points"], *want[1:])
    if tuple(x.shape) != (SIZE, *want):
        raise Broken(f"{SIZE} samples have the shape {tuple(x.shape)}", f"give [n, *shape], here {(SIZE, *want)}")
    look_at_x(x, case.model.spec, shape=False)
    if x.device.type != case.device.type:
        raise Broken(f"samples are on {x.device}, the noise on {case.device}", "make them on noise.device")


def samples_depend_on_the_noise_only(case: ModelCase) -> None:
    noise = case.noise()
    with global_seed(1):
        first = case.samples(noise)
    with global_seed(2):
        other = case.samples(case.noise(1))
        again = case.samples(case.noise())
    if not same(first, again):
        raise Broken("the same noise gave two samples", "draw from the noise and remember nothing")
    if noise.drawn and same(first, other) and all(same(first, case.samples(case.noise(i))) for i in (2, 3)):
        raise Broken("other noise gives the same samples", "let samples depend on what is drawn")


def samples_do_not_know_of_each_other(case: ModelCase) -> None:
    """But for the last digits, in which kernels for other sizes differ."""
    some = range(SIZE // 2, SIZE)
    whole, part = case.samples(case.noise())[SIZE // 2 :], case.samples(case.noise(rows=some))
    near = 1e-3 * max(1.0, float(whole.abs().max())) if whole.is_floating_point() else 0
    if whole.shape != part.shape or not torch.allclose(whole, part, rtol=0, atol=near):
        raise Broken("samples made without those before them are others", "draw rows of noise, [n, …]; mix no rows")


def likelihood_is_of_each_example(case: ModelCase) -> None:
    if not case.model.scored:
        return
    batch = case.batch()
    with torch.no_grad():
        value = case.model.log_prob(batch.x, batch.cond)
    if value is None or tuple(value.shape) != (SIZE,) or value.isnan().any():
        what = None if value is None else f"{tuple(value.shape)} {value.tolist()}"
        raise Broken(f"log_prob of {SIZE} examples is {what}", "give nats, [B], or leave it out")
    if case.model.spec.vocab and float(value.max()) > 1e-3:
        raise Broken(f"log_prob of tokens is {float(value.max()):g}", "a probability is at most 1: normalise")


def estimate_has_the_shape_of_x(case: ModelCase) -> None:
    if not case.model.estimates:
        return
    with torch.no_grad():
        x, x_hat = case.batch().x, case.loss().x_hat
    if x_hat is None or x_hat.shape != x.shape:
        what = None if x_hat is None else tuple(x_hat.shape)
        raise Broken(f"x_hat is {what}, x {tuple(x.shape)}", "give x_hat the shape of x, or set estimates=False")


def state_is_parameters_and_buffers(case: ModelCase) -> None:
    if case.make is None:
        return
    fresh = case.make().to(case.device)
    fresh.load_state_dict(case.model.state_dict())
    fresh.eval()
    with torch.no_grad():
        equal = same(case.loss().value, case.loss(model=fresh).value)
    if not equal:
        raise Broken("with the same weights, another such model has another loss", "keep state in buffers")
    if not same(case.samples(case.noise()), case.samples(case.noise(), fresh)):
        raise Broken("with the same weights, another such model has other samples", "keep state in buffers")


OF_MODEL: tuple[Callable[[ModelCase], None], ...] = (
    loss_is_of_each_example,
    loss_depends_on_the_batch,
    loss_is_pure,
    gradient_reaches_parameters,
    samples_fit_the_spec,
    samples_depend_on_the_noise_only,
    samples_do_not_know_of_each_other,
    likelihood_is_of_each_example,
    estimate_has_the_shape_of_x,
    state_is_parameters_and_buffers,
)
