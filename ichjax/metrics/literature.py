"""The systems that the paper reviews (Tables 2 and 3), with the figures that it quotes for them.

Source: M. D. Hssayeni et al., Data 2020, 5(1), 14 (CC-BY 4.0). Other data, mostly private, and other scores: nothing
here can be compared with a figure of a run, and no two rows with each other.
"""

from typing import NamedTuple


class Reviewed(NamedTuple):
    """A reviewed system.

    Attributes:
      name: first author, and others where there are any.
      year: of publication.
      number: in the paper's references.
      kind: how it works, in a few words.
      training, testing: scans, as Table 2 or 3 counts them; with a hemorrhage + without.
      public: whether its test data are public.
      subtypes: of hemorrhage that it was made for.
      figures: what the paper quotes, in its tables' words.
      disagreement: where the paper's text and tables differ, or the score is not what it seems; or ''.
    """

    name: str
    year: int
    number: str
    kind: str
    training: str
    testing: str
    public: bool
    subtypes: str
    figures: str
    disagreement: str = ""


ALL = "any"
REVIEWED: dict[str, Reviewed] = {
    "yuh_2008": Reviewed(
        "Yuh et al.", 2008, "10", "threshold, rules on shape and place", "27 + 5", "52 + 158", False, ALL,
        "detection 98 % sensitivity, 59 % specificity",
        "The text has 33 scans for training and 210 for testing; Table 2 has 32 and 210.",
    ),
    "li_2012": Reviewed(
        "Li et al.", 2012, "11, 12", "distances and Bayes' rule, support vector machine", "30 + 30", "30 + 39", False,
        "SAH", "detection 100 % sensitivity, 92 % specificity",
        "The text adds 91 % accuracy, which 30 + 39 scans with these two rates cannot have (96 %).",
    ),
    "prevedello_2017": Reviewed(
        "Prevedello et al.", 2017, "28", "CNN on slices", "100 + 124", "50 + 35", False, ALL,
        "detection 90 % sensitivity, 85 % specificity, AUC 0.91",
        "Of hemorrhage, mass effect and hydrocephalus together; the text counts 100 and 50 scans as hydrocephalus.",
    ),
    "grewal_2017": Reviewed(
        "Grewal et al.", 2017, "29", "DenseNet and LSTM over slices", "252", "77", False, ALL,
        "detection 88 % sensitivity, 81 % precision, 81 % accuracy",
    ),
    "jnawali_2018": Reviewed(
        "Jnawali et al.", 2018, "30", "three 3-D CNNs", "8465 + 26,383", "1891 + 3618", False, ALL,
        "detection 77 % sensitivity, 80 % precision, AUC 0.87",
    ),
    "chilamkurthy_2018": Reviewed(
        "Chilamkurthy et al.", 2018, "7", "ResNet18 on slices, random forest over scans", "290,055",
        "2494 + 18,601; 205 + 286", True, ALL, "by sub-type 92 % sensitivity, 70 % specificity, mean AUC 0.93",
    ),
    "arbabshirani_2018": Reviewed(
        "Arbabshirani et al.", 2018, "8", "four 3-D CNNs", "9938 + 27,146", "9499 + 347", False, ALL,
        "detection AUC 0.846, 71.5 % sensitivity, 83.5 % specificity",
        "9499 and 347 are the retrospective and the prospective test set, not scans with and without a hemorrhage.",
    ),
    "ye_2019": Reviewed(
        "Ye et al.", 2019, "14", "CNN and GRU over slices", "1642 + 895", "194 + 105", False, ALL,
        "detection 98 % sensitivity, 99 % specificity, AUC 1; by sub-type 80 %, 93.2 %, AUC 0.93",
        "The text has 99 % for both rates of detection.",
    ),
    "chan_2007": Reviewed(
        "Chan", 2007, "15", "top-hat, asymmetry, rules", "40 + 124", "22 + 0", False, "small and acute",
        "detection 100 % sensitivity, 84.1 % specificity; lesions 82.6 % sensitivity",
        "Semi-automatic. A specificity needs scans or slices without a hemorrhage: slices, by the text.",
    ),
    "shahangian_2016": Reviewed(
        "Shahangian et al.", 2016, "18", "level set, support vector machines", "627 slices", "the same", False,
        "EDH, IPH, SDH; IVH as a class",
        "segmentation Dice 0.585, 82.5 % sensitivity, 90.5 % specificity; accuracy 92.46 % (any), 94.13 % (sub-types)",
        "Table 2 counts no test set. The two rates are given for segmentation in Table 2, for the method in the text.",
    ),
    "chang_2018": Reviewed(
        "Chang et al.", 2018, "21", "regions of interest, 3-D and 2-D CNN", "901 + 9258", "82 + 780", False,
        "IPH, SAH, EDH and SDH",
        "detection 95 % sensitivity, 97 % specificity, AUC 0.97; segmentation Dice 0.85",
    ),
    "lee_2019": Reviewed(
        "Lee et al.", 2019, "9", "four CNNs, attention maps", "625 + 279", "100 + 100; 107 + 130", False, ALL,
        "detection 95.2 % sensitivity, 94.9 % specificity, AUC 0.975; by sub-type 78.3 %, 92.9 %, AUC 0.959; 78.1 % of "
        "bleeding points under attention",
        "Table 2 has the AUC by sub-type as 95.9.",
    ),
    "kuo_2018": Reviewed(
        "Kuo et al.", 2018, "20", "fully convolutional network on patches", "934", "313 + 120", False, ALL,
        "detection 92.8 % average precision; pixels 77.9 % average precision",
        "The text has 92.85 % and 100 prospective scans; Table 2 has 120.",
    ),
    "cho_2019": Reviewed(
        "Cho et al.", 2019, "24", "cascade of CNNs, two fully convolutional networks", "2647 + 3055",
        "the same, 5 folds", False, ALL,
        "detection 97.91 % sensitivity, 98.76 % specificity; pixels 80.19 % precision, 82.15 % recall",
    ),
    "bhadauria_2014": Reviewed(
        "Bhadauria et al.", 2014, "17", "spatial fuzzy c-means, active contour", "none", "20 + 0", False,
        "IPH and others, on slices with one",
        "segmentation 79.4 % sensitivity, 99.4 % specificity, Jaccard 0.78, Dice 0.87",
        "The text has 79 % and 99 %, and no Dice.",
    ),
    "nag_2019": Reviewed(
        "Nag et al.", 2019, "22", "autoencoder selects slices, Chan-Vese contour", "24 + 0", "48 + 0", False,
        "without SDH", "segmentation 71 % sensitivity, 73 % precision, Jaccard 0.55",
        "Half of the test scans are the training scans.",
    ),
    "muschelli_2017": Reviewed(
        "Muschelli et al.", 2017, "19", "voxel features, random forest", "10 + 0", "102 + 0", False, "IPH",
        "segmentation Dice 0.89, volume correlation 0.93", "The text has a Dice of 0.899.",
    ),
    "kuang_2019": Reviewed(
        "Kuang et al.", 2019, "23", "U-Net, contour evolution", "180 + 0", "30 + 0", False, "IPH",
        "segmentation Dice 0.72",
        "Semi-automatic: a user marks the regions first. The discussion quotes 0.65, and 0.35 for the U-Net alone.",
    ),
    "gautam_2018": Reviewed(
        "Gautam and Raman", 2018, "25", "white-matter fuzzy c-means, wavelet", "20 + 0", "none", False, "IPH",
        "segmentation Dice 0.82", "Table 3 counts the 20 scans as training, the text evaluates on them.",
    ),
    "prakash_2012": Reviewed(
        "Prakash et al.", 2012, "16", "level set in two stages", "150 + 0", "50 + 0", False, "IPH and IVH",
        "segmentation AUC 0.88, 79.6 % sensitivity, 99.9 % specificity",
        "The 0.88 is an AUC in Table 3 and a Dice in the text.",
    ),
}  # fmt: skip
