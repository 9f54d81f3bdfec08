"""Classes of a mask in NumPy and SciPy, for tests of what is made of them."""

import numpy as np
import scipy.ndimage

SUBTYPES = ("IVH", "IPH", "SAH", "EDH", "SDH")


def class_mask(class_probability, mask):
    """uint8 [D, H, W]: the most probable of five sub-types in a mask; of EDH and SDH the larger one of a component."""
    classes = np.where(mask, 1 + np.asarray(class_probability)[..., 1:].argmax(axis=-1), 0).astype(np.uint8)
    labels, count = scipy.ndimage.label(classes >= 4, np.ones((3, 3, 3)))
    for number in range(1, count + 1):
        epidural, subdural = (np.count_nonzero((labels == number) & (classes == k)) for k in (4, 5))
        classes[labels == number] = 4 if epidural >= subdural else 5
    return classes
