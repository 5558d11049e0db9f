"""A made graph of invented diseases: no model has met their names, so that all it knows of them was learned here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from vitalfactory.errors import VitalFactoryError
from vitalfactory.knowledge.graph import Graph

_SYLLABLES: Mapping[str, Sequence[str]] = {
    "en": (
        *("bal", "cor", "dar", "fen", "gal", "hes", "jor", "kel", "lum", "mor", "nev", "ost", "pra", "quin", "rud"),
        *("sil", "tam", "ulv", "ver", "wex", "yar", "zol", "bri", "cle", "dro", "fli", "gor", "har", "ist", "kru"),
    ),
    "zh": (*"岚珂淼骁翊琰湛霁蘅瑶沅澈璟煜昀", *"芷棠桉柠樾槿苒菡萱蔚岑峤崧嵘屿"),
}
_DISEASES: Mapping[str, Sequence[str]] = {
    "en": ("osis", "itis", "emia", "opathy", " syndrome", " fever", " disease"),
    "zh": ("综合征", "热", "病", "炎", "血症", "痹症", "样变"),
}
_DRUGS: Mapping[str, Sequence[str]] = {
    "en": ("ine", "ol", "mab", "cillin", "pril"),
    "zh": ("平", "洛尔", "单抗", "西林", "普利"),
}
_VOCABULARY: Mapping[str, Mapping[str, Sequence[str]]] = {
    "en": {
        "symptom": (
            *("fever", "cough", "headache", "nausea", "rash", "chest pain", "dizziness", "night sweats", "weight loss"),
            *("joint pain", "blurred vision", "palpitations", "itching", "fatigue", "vomiting", "diarrhoea", "tremor"),
            *("sore throat", "back pain", "numbness", "swollen ankles", "hoarseness", "insomnia", "thirst", "cramps"),
            *("muscle weakness", "shortness of breath", "abdominal pain", "loss of appetite", "nosebleeds"),
        ),
        "cause": (
            *("a virus", "a bacterium", "a fungus", "a parasite", "smoking", "a gene mutation", "an immune reaction"),
            *("heavy metals", "vitamin deficiency", "obesity", "radiation", "alcohol", "mould dust", "a tick bite"),
        ),
        "test": (
            *("a blood count", "a chest X-ray", "an ECG", "an ultrasound scan", "a CT scan", "an MRI scan"),
            *("a biopsy", "a urine test", "a stool culture", "an endoscopy", "a lumbar puncture", "a skin test"),
        ),
        "complication": (
            *("kidney failure", "heart failure", "sepsis", "anaemia", "blindness", "stroke", "liver failure"),
            *("deafness", "seizures", "a blood clot", "shock", "a lung abscess", "a bone fracture", "infertility"),
        ),
        "department": (
            *("cardiology", "neurology", "dermatology", "gastroenterology", "haematology", "respiratory medicine"),
            *("nephrology", "rheumatology", "infectious diseases", "endocrinology", "ophthalmology", "urology"),
        ),
    },
    "zh": {
        "症状": (
            *("发热", "咳嗽", "头痛", "恶心", "皮疹", "胸痛", "头晕", "盗汗", "消瘦", "关节痛", "视物模糊", "心悸"),
            *("瘙痒", "乏力", "呕吐", "腹泻", "震颤", "咽痛", "腰痛", "麻木", "踝部水肿", "声音嘶哑", "失眠", "口渴"),
            *("抽筋", "肌无力", "呼吸困难", "腹痛", "食欲减退", "鼻出血"),
        ),
        "病因": (
            *("病毒感染", "细菌感染", "真菌感染", "寄生虫", "吸烟", "基因突变", "免疫反应", "重金属", "维生素缺乏"),
            *("肥胖", "辐射", "饮酒", "霉菌粉尘", "蜱虫叮咬"),
        ),
        "检查": (
            *(
                "血常规",
                "胸部X线",
                "心电图",
                "超声检查",
                "CT扫描",
                "磁共振成像",
                "活检",
                "尿常规",
                "便培养",
                "内镜检查",
            ),
            *("腰椎穿刺", "皮肤试验"),
        ),
        "并发症": (
            *("肾衰竭", "心力衰竭", "脓毒症", "贫血", "失明", "脑卒中", "肝衰竭", "耳聋", "癫痫发作", "血栓", "休克"),
            *("肺脓肿", "骨折", "不孕"),
        ),
        "就诊科室": (
            *("心内科", "神经内科", "皮肤科", "消化内科", "血液科", "呼吸内科", "肾内科", "风湿免疫科", "感染科"),
            *("内分泌科", "眼科", "泌尿外科"),
        ),
    },
}
_DRUG = {"en": "drug", "zh": "药物"}
_COUNTS = ((3, 5), (1, 2), (2, 3), (1, 2), (1, 1))
"""How many tails a disease has, of each relation of the vocabulary."""
_SYLLABLES_EACH = 3
MOST = 100_000
"""Diseases; more would wear the invented names out."""


def make_graph(diseases: int, seed: int, language: str) -> Graph:
    """Make a graph.

    Parameters
    ----------
    diseases : int
        How many; each with symptoms, causes, examinations, complications, a department and two drugs of its own.
    seed : int
    language : {'en', 'zh'}

    Raises
    ------
    VitalFactoryError
        ``diseases`` is out of range.
    """
    if not 1 <= diseases <= MOST:
        raise VitalFactoryError(f"--synthetic {diseases}: expected 1 to {MOST} diseases")
    draw = Random(f"{seed}/{language}")
    names = _names(_DISEASES[language], language, draw)
    drugs = _names(_DRUGS[language], language, draw)
    graph = Graph()
    for _ in range(diseases):
        disease = next(names)
        for (relation, known), (fewest, most) in zip(_VOCABULARY[language].items(), _COUNTS, strict=True):
            for tail in draw.sample(known, draw.randint(fewest, most)):
                graph.add((disease, relation, tail))
        for drug in (next(drugs), next(drugs)):
            graph.add((disease, _DRUG[language], drug))
    return graph


def _names(ends: Sequence[str], language: str, draw: Random) -> Iterator[str]:
    """Invent names, each once."""
    seen: set[str] = set()
    while True:
        name = "".join(draw.choices(_SYLLABLES[language], k=_SYLLABLES_EACH)) + draw.choice(ends)
        if name not in seen:
            seen.add(name)
            yield name.capitalize() if language == "en" and ends is _DISEASES["en"] else name
