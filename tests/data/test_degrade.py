from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fer_edge.data.augment import COVER_JITTER, COVERS, Augmentation, apply
from fer_edge.data.degrade import LARGEST_SIDE, Degradation, Faults, blur, degrade, downscale, jpeg, lost_detail
from tests.synthetic import smooth_frame


def grey_images(count: int = 4, side: int = 48) -> Tensor:
    frames = [Image.fromarray(smooth_frame(seed)).convert("L").resize((side, side)) for seed in range(count)]
    return torch.from_numpy(np.stack([np.asarray(frame) for frame in frames]))[:, None].float() / 255


def no_faults(count: int, **changes: Any) -> Faults:
    none = torch.zeros(count)
    values: dict[str, Any] = {
        "side": none.long() + LARGEST_SIDE,
        "blur": none,
        "motion": none,
        "angle": none,
        "noise": none,
    }
    return Faults(**(values | {"quality": none + 100, "seed": 1} | changes))


def test_image_without_faults_stays_unchanged() -> None:
    images = grey_images()
    assert torch.allclose(degrade(images, no_faults(4)), images, atol=1e-6)


def test_downscaling_is_pillows() -> None:
    images = (grey_images() * 255).round() / 255
    pixels = (images[:, 0] * 255).to(torch.uint8).numpy()
    small = [Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR) for image in pixels]
    expected = np.stack([np.asarray(image.resize((48, 48), Image.Resampling.BILINEAR)) for image in small])
    actual = downscale(images, torch.full((4,), 20))[:, 0].numpy() * 255
    assert np.abs(actual - expected).max() <= 1.5  # Pillow rounds twice


def test_each_image_has_its_own_strength() -> None:
    images = grey_images(2)
    result = downscale(images, torch.tensor([48, 12]))
    assert torch.allclose(result[0], images[0], atol=1e-6) and not torch.allclose(result[1], images[1], atol=0.02)


def test_jpeg_is_nearly_pillows() -> None:
    images = (grey_images() * 255).round() / 255
    decoded = []
    for image in images[:, 0]:
        file = io.BytesIO()
        Image.fromarray((image * 255).to(torch.uint8).numpy()).save(file, "JPEG", quality=20)
        decoded.append(np.asarray(Image.open(file)))
    actual = jpeg(images, torch.full((4,), 20.0))[:, 0].numpy() * 255
    assert np.abs(actual - np.stack(decoded)).mean() < 0.5


def test_jpeg_of_sides_that_are_no_multiple_of_eight() -> None:
    images = grey_images(side=45)
    assert jpeg(images, torch.full((4,), 90.0)).shape == images.shape
    assert torch.equal(jpeg(images, torch.full((4,), 100.0)), images)


def test_motion_blurs_along_its_direction_only() -> None:
    line = torch.zeros(1, 1, 48, 48)
    line[..., 24, :] = 1  # a horizontal line
    along = blur(line, no_faults(1, motion=torch.tensor([0.2])))
    across = blur(line, no_faults(1, motion=torch.tensor([0.2]), angle=torch.tensor([torch.pi / 2])))
    assert along[0, 0, 24, 24] > 0.7 and across[0, 0, 24, 24] < 0.2
    assert float(across.sum()) == pytest.approx(float(line.sum()), rel=0.01)


def test_large_and_colour_images_are_degraded_too() -> None:
    images = grey_images(2, side=160).expand(-1, 3, -1, -1)
    result = degrade(images, no_faults(2, blur=torch.tensor([0.0, 0.04])))
    assert result.shape == (2, 3, LARGEST_SIDE, LARGEST_SIDE)
    assert result[1].std() < result[0].std()


def test_drawn_faults_stay_in_their_range_and_depend_on_the_seed() -> None:
    settings = Degradation(share=1.0, faults=1.0)
    faults = settings.draw(512, torch.Generator().manual_seed(3))
    assert int(faults.side.min()) >= 12 and int(faults.side.max()) <= 48
    assert float(faults.blur.max()) <= settings.blur and float(faults.motion.max()) <= settings.motion
    assert settings.jpeg <= float(faults.quality.min()) and float(faults.quality.max()) <= 80
    again = settings.draw(512, torch.Generator().manual_seed(3))
    assert torch.equal(faults.quality, again.quality) and faults.seed == again.seed
    none = Degradation(share=0.0).draw(512, torch.Generator().manual_seed(3))
    assert torch.equal(degrade(grey_images(), none.part(slice(0, 4))), degrade(grey_images(), no_faults(4)))


def test_changes_that_are_off_draw_no_random_numbers() -> None:
    images, generator = grey_images(8), torch.Generator().manual_seed(0)
    changes = Augmentation().draw(8, generator)
    assert changes.gamma is None and changes.light is None and changes.faults is None
    state = generator.get_state()
    generator.manual_seed(0)
    more = Augmentation(aspect=0.2, gamma=2.0, light=0.3, cover=0.5).draw(8, generator)
    assert not torch.equal(state, generator.get_state())
    assert torch.equal(changes.gain, more.gain) and torch.equal(changes.filling, more.filling)
    assert not torch.allclose(apply(images, 32, changes), apply(images, 32, more))


def test_smoothing_grows_with_what_is_hidden() -> None:
    settings = Augmentation(
        erasing=1.0, cover=1.0, smoothing=0.2, degradation=Degradation(share=1.0, faults=0.5, side=12, blur=0.045)
    )
    changes = settings.draw(400, torch.Generator().manual_seed(0))
    assert changes.smoothing is not None and changes.faults is not None
    parts = torch.cdist(changes.erased, torch.tensor(COVERS)).argmin(1)
    lower = parts == 1
    torch.testing.assert_close(changes.smoothing[lower], torch.full((int(lower.sum()),), 0.2))
    eyes = parts == 4
    blurred = changes.faults.blur > 0.042
    torch.testing.assert_close(changes.smoothing[eyes & blurred], torch.full((int((eyes & blurred).sum()),), 0.092))
    assert (eyes & blurred).any() and changes.smoothing[eyes & ~blurred].min() == pytest.approx(0.048)
    assert Augmentation(erasing=1.0, cover=1.0).draw(4, torch.Generator().manual_seed(0)).smoothing is None


def test_lost_detail_of_small_and_blurred_images() -> None:
    faults = no_faults(4, side=torch.tensor([112, 12, 16, 20]), blur=torch.tensor([2 / 48, 0, 0, 1 / 48]))
    torch.testing.assert_close(lost_detail(faults), torch.tensor([0.46, 0.46, 0.23, 0.115]))


def test_geometry_has_no_change_of_values() -> None:
    images = grey_images(8)
    settings = Augmentation(gamma=2.0, light=0.3, cover=1.0, erasing=1.0, degradation=Degradation(share=1.0))
    changes = settings.draw(8, torch.Generator().manual_seed(0))
    distances = (changes.erased[:, None] - torch.tensor(COVERS)).abs().amax(2).amin(1)
    assert 0 < float(distances.min()) < float(distances.max()) <= COVER_JITTER
    clean = apply(images, 48, changes.geometry())
    assert torch.allclose(clean, apply(images, 48, changes.geometry().part(slice(None))))
    assert float((clean - apply(images, 48, changes)).abs().mean()) > 0.05
