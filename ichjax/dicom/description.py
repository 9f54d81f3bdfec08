"""Interpret the free text of a series' header: body part, contrast, bone kernel, computed images, in several languages.

The text itself may identify a patient, so only its interpretation is kept.
"""

import dataclasses
import re
import unicodedata

import pydicom

TEXT_TAGS = ("SeriesDescription", "BodyPartExamined", "ProtocolName")  # interpreted immediately, never kept
HEAD = "head"
# Of each body part: the beginnings of words, and whole words. English, German, French, Spanish, Portuguese, Italian and
# Dutch without accents, some Russian, then Chinese, Japanese and Korean, which do not separate words.
_WORDS = {
    HEAD: (
        "head|brain|skull|crani|crane|cerebr|cerebel|cerveau|cervell|encephal|encefal|neurocran|intracran|kopf|schadel|"
        "schaedel|hirn|gehirn|tete|cabeza|cabeca|testa|hersen|hoofd|schedel|голов|мозг|череп",
        "cct|ncct",
        "[头頭颅顱脑脳腦뇌]|두부",
    ),
    "neck": ("neck|hals|cuello|pescoco|collo|laryn|pharyn|thyroid|шеи", "cou", "[颈頸]|경부"),
    "spine": (
        r"spine|spinal|[ctl][ -]?spine|cervi[cx]|wirbel|rachis|columna|coluna|colonna|vertebra|lumb|sacr|myelo|позвон",
        "hws|bws|lws|ws",
        "椎|[경척요흉]추",
    ),
    "chest": (
        "chest|thor|torax|lung|pulmon|poumon|heart|cardia|coronar|herz|mediast|breast|груд|легк",
        "coeur|ribs?",
        "[胸肺]|흉부",
    ),
    "abdomen": (
        "abd|bauch|liver|leber|pelvi|becken|bassin|kidney|renal|urogr|oberbauch|bacino",
        "foie",
        "[腹盆肝]|복부",
    ),
    "body": (
        "whole ?body|total ?body|ganzkorper|ganzkoerper|corps entier|cuerpo|corpo|polytrauma|trunk|torso",
        "body|rumpf|tap|cap",
        "全身|体幹|躯干",
    ),
    "face": (
        "facial|gesicht|mittelgesicht|sinus|paranas|orbit(?!o)|maxill|mandib|kiefer|dental|felsenbein|petrous|rocher|"
        "mastoid|temporal ?bone|nasal",
        "face|nnh|jaw|iac|iam|ear|tmj|nose",
        "[鼻眼顎颌]",
    ),
    "limb": (
        "extrem|knee|shoulder|elbow|ankle|wrist|schulter|knie|genou|rodilla|femur|tibia|humer",
        "hand|foot|hip|leg|arm",
        "[膝肩肘]",
    ),
}
_NOUN = r"(?:[ck]ontras\w*|контраст\w*|km|in[jy]e[ckz]\w*|iniez\w*|enh\w*|mdc|mc|pdc|civ|iv|ic|c)\b"
# Removed from the text before it is searched for contrast: 'w/o contrast', 'ohne KM', 'non injecté', 'S/C', 'C-'.
_NO_CONTRAST = re.compile(
    rf"\b(?:without|w[ /]*o|ohne|kein\w*|sans|sin|sem|senza|zonder|bez|ut[ae]n|uden|без)\b[ -]*"
    rf"(?:(?:iv|any|de|di)\b[ -]*)?(?:{_NOUN})?"
    rf"|\b(?:non?|not|un|pre|vor|avant|antes|prima|sin|s ?/)[ -]*(?:(?:iv|de|di)\b[ -]*)?{_NOUN}"
    r"|\b[ck]ontras\w*[ :-]*(?:none|no|nelkul)\b|\bkontrasts[iı]z\w*|(?<!\w)c ?-(?![\w-])|(?<![\w-])-c\b"
    r"|非造影|非增强|非増強|単純|平扫|平掃|비조영"
)
_CONTRAST = re.compile(
    r"\b(?:(?:post)?[ck]ontras|контраст|ангио|артери|венозн|in[jy]e[ck]|iniez|enhanc|varjoaine|tehoste|"
    r"(?:3 ?d)?cta|ctv|ctpa|angi|venogr|phlebo|flebo|arter|venos|venou|"
    r"veineu|portal|delayed|tardi|bolus|iod|jod|iomer|omnipa|ultravi|visipa|iopa|carotid|karotis|willis|aort)"
    r"|\b(?:km|mdc|mc|pdc|civ|tsa|cect|ce[ -]ct|spat|enh)\b|\b(?:c|iv) ?\+|\+ ?c\b|\bc ?/ ?c\b"
    r"|\b(?:post|with|w|w/)$|\b(?:post|with|w/|mit|nach|avec|apres|con|com|met)[ -]*(?:iv|ic|c)\b"
    r"|造影|增强|増強|血管|[动動静靜][脈脉]|조영|혈관"
)
_COMPUTED = {
    "localizer": r"\b(?:scout|topogr|locali[sz]er|surview|scanogr|pilot)|定位",
    "MIP": r"\b(?:t?mips?|minip|m(?:ax|in)? ip|m(?:ax|in)imum|projection image)\b|最大(?:値|密度|强度)",
    "rendering": r"\b(?:vrt?|ssd)\b|\b(?:volume ?rend|rendering|surface|cinematic|curved)",
    "perfusion": r"\b(?:perf|dynam|cb[fv]\b|mtt\b|t ?max\b|ttp\b|tta\b|ctp\b|vpct|4 ?d\b|permeab|(?:pre)?monitor|"
    r"test ?bolus|bolus ?track|smart ?prep|sure ?start)|灌[流注]",
    "subtraction": r"\b(?:subtra|sous ?tract|substra|sottra|dsa\b|bone ?remov|boneless|masked|overlay|fusion)",
    "dual energy": r"\b(?:mono ?(?:\+|e|chrom|plus|\d)|ke ?v\b|iod|jod|virtu|vn[ca]\b|z ?eff|effective z|"
    r"electron dens|spectral|gsi\b)|虚[拟擬]|仮想",
    "map": r"\b(?:maps?\b|karte|carte|mapa\b|mappa\b|colou?r|farb|segment|report|dose|screen|capture|summary)",
}
_EAST_ASIAN = "[\u3040-\u9fff\uac00-\ud7af]"  # kana, Chinese characters and Korean syllables
_BONE = re.compile(r"\b(?:bone|knochen|osseu|hueso|oseo|osea|osso|ossea|sharp|edge)|\bos\b|骨(?!盆)")
_PART_PATTERN = {
    part: re.compile(rf"\b(?:{starts})|\b(?:{words})\b|{characters}")
    for part, (starts, words, characters) in _WORDS.items()
}
_COMPUTED_PATTERN = {kind: re.compile(pattern) for kind, pattern in _COMPUTED.items()}


@dataclasses.dataclass(frozen=True)
class Description:
    """What a header's text says about a series.

    Attributes:
      part: `HEAD` or another body part; '' if none is named, or the head and another.
      contrast: whether it names contrast, or vessels, which are not seen without.
      computed: the kind of computed images (MIP, perfusion, dual energy and so on); '' for none.
      bone: whether it names bone, as series with a bone kernel do.
    """

    part: str = ""
    contrast: bool = False
    computed: str = ""
    bone: bool = False


def interpret_header(header: pydicom.Dataset) -> Description:
    """Interprets `TEXT_TAGS` of a pydicom data set; a tag that is malformed says nothing.

    A protocol is often shared by all series of a study, so its name counts only without a SeriesDescription.
    """
    texts = []
    for keyword in TEXT_TAGS:
        try:
            texts.append(str(header.get(keyword) or ""))
        except Exception:  # pydicom raises many types, depending on the value
            texts.append("")
    series_text, body_part, protocol = texts
    return interpret(series_text.strip() or protocol, body_part)


def interpret(text: str, body_part: str = "") -> Description:
    """Interprets a SeriesDescription, or another text about a series.

    Args:
      text: in any of the languages above.
      body_part: BodyPartExamined, which a protocol may set for all series of a study: the text's own outranks it.
    """
    plain = _normalize(text)
    computed = next((kind for kind, pattern in _COMPUTED_PATTERN.items() if pattern.search(plain)), "")
    part = _part(plain) or _part(_normalize(body_part))
    contrast = names_contrast(text) or names_contrast(body_part)
    return Description(part, contrast, computed, bool(_BONE.search(plain)))


def names_contrast(text: str) -> bool:
    """Whether a text names contrast other than to deny it."""
    return bool(_CONTRAST.search(_NO_CONTRAST.sub(" ", _normalize(text)).strip()))


def denies_contrast(text: str) -> bool:
    """Whether a text says that there is no contrast, and nothing else about it."""
    return bool(_NO_CONTRAST.search(_normalize(text))) and not names_contrast(text)


def _part(text: str) -> str:
    parts = [part for part, pattern in _PART_PATTERN.items() if pattern.search(text)]
    return "" if not parts or (HEAD in parts and len(parts) > 1) else parts[0]


def _normalize(text: str) -> str:
    """Lower case without accents; words are separated by spaces, also HeadNeck, CTAHead, Head5 and 頭部CTA."""
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)", " ", text)
    letters = unicodedata.normalize("NFKD", text.casefold().replace("headneck", "head neck"))
    letters = unicodedata.normalize("NFC", "".join(letter for letter in letters if not unicodedata.combining(letter)))
    letters = re.sub(rf"(?<=[a-z\d])(?={_EAST_ASIAN})|(?<={_EAST_ASIAN})(?=[a-z\d])", " ", letters)
    return re.sub(r"[^\w+/-]+|_", " ", letters).strip()
