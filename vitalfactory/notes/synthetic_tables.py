"""The diseases of the synthetic cases and their findings, in English and in Chinese.

Made for demonstrations and tests: the frequencies are rough, and nothing here is medical advice. A finding has several
wordings in either language; the last one is kept for later cases. A disease's *key* findings belong to it alone, so
that a reader who tells what is present from what is absent can name it; its other findings are shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["symptom", "history", "sign", "vital", "value", "image", "assay"]
LANGUAGES = ("en", "zh")
Span = tuple[float, float]


@dataclass(frozen=True)
class Finding:
    """What may be present or absent.

    Attributes
    ----------
    kind : str
        ``vital`` and ``value`` are measurements, ``image`` is seen by a test, ``assay`` is positive or negative.
    wordings : mapping of str to tuple of str
        Language to noun phrases; names of the measurement or assay for these kinds.
    about : str
        Findings about one thing are never told of one patient in two states.
    test : mapping of str to str
        Language to the test that shows an image.
    unit : str
    digits : int
        After the decimal point.
    present, absent : tuple of two floats
        Range of the value.
    present_low, absent_low : tuple of two floats, optional
        Range of the second value of a pair (blood pressure).
    """

    kind: Kind
    wordings: Mapping[str, tuple[str, ...]]
    about: str = ""
    test: Mapping[str, str] | None = None
    unit: str = ""
    digits: int = 0
    present: Span = (0, 0)
    absent: Span = (0, 0)
    present_low: Span | None = None
    absent_low: Span | None = None


@dataclass(frozen=True, eq=False)
class Disease:
    """A disease.

    Attributes
    ----------
    names : mapping of str to str
        Language to its name, in normal form.
    keys : tuple of str
        Findings of this disease alone.
    others : mapping of str to float
        Further findings to how often they are there.
    ages : tuple of two ints
    curable : bool
        Whether it may be told as past.
    """

    names: Mapping[str, str]
    keys: tuple[str, ...]
    others: Mapping[str, float]
    ages: tuple[int, int]
    curable: bool = False


def _wordings(en: str, zh: str) -> dict[str, tuple[str, ...]]:
    return {"en": tuple(en.split("|")), "zh": tuple(zh.split("|"))}


def _symptom(en: str, zh: str, about: str = "") -> Finding:
    return Finding("symptom", _wordings(en, zh), about)


def _history(en: str, zh: str) -> Finding:
    return Finding("history", _wordings(en, zh))


def _sign(en: str, zh: str, about: str = "") -> Finding:
    return Finding("sign", _wordings(en, zh), about)


def _image(test_en: str, test_zh: str, en: str, zh: str) -> Finding:
    return Finding("image", _wordings(en, zh), test={"en": test_en, "zh": test_zh})


def _assay(en: str, zh: str) -> Finding:
    return Finding("assay", _wordings(en, zh))


def _value(en: str, zh: str, unit: str, digits: int, present: Span, absent: Span, about: str = "") -> Finding:
    return Finding("value", _wordings(en, zh), about, unit=unit, digits=digits, present=present, absent=absent)


def _vital(en: str, zh: str, unit: str, digits: int, present: Span, absent: Span, about: str = "") -> Finding:
    return Finding("vital", _wordings(en, zh), about, unit=unit, digits=digits, present=present, absent=absent)


FINDINGS: Mapping[str, Finding] = {
    # Shared symptoms
    "cough": _symptom("cough|coughing|bouts of coughing", "咳嗽|阵发性咳嗽|干咳不止"),
    "sputum": _symptom("yellow sputum|purulent sputum|thick green phlegm", "咳黄痰|咳脓痰|痰黄稠"),
    "dyspnea": _symptom("shortness of breath|breathlessness|difficulty breathing", "气促|呼吸困难|喘不过气"),
    "chest pain": _symptom("chest pain|pain in the chest|retrosternal discomfort", "胸痛|胸部疼痛|胸骨后不适"),
    "hemoptysis": _symptom("blood in the sputum|coughing up blood|hemoptysis", "咯血|痰中带血|咳血"),
    "night sweats": _symptom("night sweats|sweating at night|drenching sweats in bed", "盗汗|夜间出汗|睡中汗出"),
    "weight loss": _symptom("weight loss|loss of weight|losing several kilograms", "体重下降|消瘦|体重减轻"),
    "weight gain": _symptom("weight gain|gaining weight|putting on several kilograms", "体重增加|发胖|体重上升"),
    "fatigue": _symptom("fatigue|tiredness|lack of energy", "乏力|疲倦|浑身没劲"),
    "night cough": _symptom("cough at night|nocturnal cough|being woken by cough", "夜间咳嗽|夜咳|夜里咳醒", "cough"),
    "chest tightness": _symptom("chest tightness|tight chest|tightness across the chest", "胸闷|胸部发紧|胸口憋闷"),
    "palpitations": _symptom("palpitations|pounding heart|feeling the heart race", "心悸|心慌|心跳加速感"),
    "sweating": _symptom("profuse sweating|heavy sweating|being bathed in sweat", "大汗|多汗|汗出如洗"),
    "arm pain": _symptom(
        "pain spreading to the left arm|radiation to the left arm|aching down the left arm",
        "左臂放射痛|疼痛放射至左肩臂|左上肢牵涉痛",
    ),
    "orthopnea": _symptom(
        "needing three pillows at night|orthopnea|breathlessness when lying flat",
        "夜间不能平卧|端坐呼吸|平卧时憋气",
    ),
    "dizziness": _symptom("dizziness|light-headedness|feeling faint", "头晕|头昏|昏沉感"),
    "headache": _symptom("headache|head pain|aching head", "头痛|头部疼痛|头胀痛"),
    "nausea": _symptom("nausea|feeling sick|queasiness", "恶心|反胃|欲吐感"),
    "vomiting": _symptom("vomiting|repeated vomiting|throwing up", "呕吐|反复呕吐|吐胃内容物"),
    "abdominal pain": _symptom("abdominal pain|belly pain|pain in the abdomen", "腹痛|肚子痛|腹部疼痛"),
    "back pain": _symptom("back pain|pain going through to the back|aching back", "腰背痛|背部疼痛|后背牵涉痛"),
    "flank pain": _symptom("flank pain|pain in the loin|one-sided loin pain", "腰痛|肋腰部疼痛|一侧腰部绞痛"),
    "black stool": _symptom("black stools|tarry stools|melena", "黑便|柏油样便|大便发黑"),
    "heartburn": _symptom("heartburn|burning behind the breastbone|acid burning", "烧心|反酸烧灼感|胃灼热"),
    "regurgitation": _symptom("regurgitation|sour fluid in the mouth|food coming back up", "反流|口中反酸水|食物返上"),
    "appetite": _symptom("loss of appetite|poor appetite|no wish to eat", "食欲不振|纳差|不想吃饭"),
    "dark urine": _symptom("dark urine|tea-coloured urine|brown urine", "尿色深|尿黄如浓茶|小便棕色"),
    "dysuria": _symptom("burning on urination|dysuria|painful urination", "尿痛|排尿灼痛|小便刺痛"),
    "frequency": _symptom("frequent urination|urinary frequency|passing urine every hour", "尿频|小便频繁|每小时排尿"),
    "hematuria": _symptom("visible blood in the urine|red urine|bloody urine", "肉眼血尿|尿色发红|尿中带血"),
    "frothy urine": _symptom("frothy urine|foamy urine|bubbles in the urine", "泡沫尿|尿中泡沫增多|小便起沫"),
    "itching": _symptom("itching|itchy skin|pruritus", "皮肤瘙痒|全身发痒|瘙痒难忍"),
    "thirst": _symptom("excessive thirst|constant thirst|drinking a lot", "口渴|多饮|口干多饮"),
    "polyuria": _symptom("passing large amounts of urine|polyuria|large urine volume", "多尿|尿量增多|排尿量大"),
    "blurred vision": _symptom("blurred vision|hazy sight|unclear vision", "视物模糊|视力模糊|看东西不清"),
    "heat": _symptom("heat intolerance|feeling too hot|not bearing warm rooms", "怕热|不耐热|畏热"),
    "cold": _symptom("cold intolerance|feeling cold all the time|not bearing cold", "怕冷|畏寒|不耐寒"),
    "constipation": _symptom("constipation|hard stools|rare bowel movements", "便秘|大便干结|排便困难"),
    "speech": _symptom("slurred speech|unclear speech|trouble getting words out", "言语不清|说话含糊|口齿不清"),
    "weak limb": _symptom(
        "weakness of the right arm|weak right arm|heavy right arm", "右上肢无力|右臂无力|右臂抬举费力"
    ),
    "photophobia": _symptom("light sensitivity|photophobia|being troubled by light", "畏光|怕光|光线刺激不适"),
    "confusion": _symptom("confusion|being confused|muddled thinking", "意识模糊|神志恍惚|思维混乱"),
    "tongue bite": _symptom("bitten tongue|tongue biting|biting of the tongue", "舌咬伤|咬破舌头|舌缘咬伤"),
    "slow movement": _symptom(
        "slowness of movement|slowed movements|taking long to dress", "动作迟缓|行动缓慢|穿衣变慢"
    ),
    "smell": _symptom("loss of smell|reduced sense of smell|not smelling food", "嗅觉减退|嗅觉丧失|闻不到气味"),
    "falls": _symptom("frequent falls|repeated falls|falling at home", "反复跌倒|易跌倒|在家摔倒"),
    "calf pain": _symptom("calf pain|painful calf|aching in the calf", "小腿疼痛|小腿痛|腓肠肌疼痛"),
    "joint pain": _symptom("joint pain|painful joints|aching joints", "关节痛|关节疼痛|多关节酸痛"),
    "stiffness": _symptom(
        "morning stiffness over an hour|stiff hands every morning|prolonged morning stiffness",
        "晨僵超过1小时|晨起双手僵硬|长时间晨僵",
    ),
    "hair loss": _symptom("hair loss|falling hair|thinning hair", "脱发|掉发明显|头发稀疏"),
    "toe pain": _symptom("pain in the big toe|painful great toe|sudden big toe pain", "拇趾疼痛|大脚趾痛|足拇趾剧痛"),
    "muscle ache": _symptom("muscle aches|aching muscles|myalgia", "肌肉酸痛|全身酸痛|肌痛"),
    "sore throat": _symptom("sore throat|painful throat|pain on swallowing", "咽痛|嗓子痛|吞咽时咽痛"),
    "insomnia": _symptom("insomnia|poor sleep|waking early", "失眠|睡眠差|早醒"),
    "snoring": _symptom("loud snoring|snoring|heavy snoring", "打鼾|鼾声响亮|睡觉打呼噜"),
    "sleepiness": _symptom(
        "daytime sleepiness|dozing off in the day|falling asleep at work", "白天嗜睡|日间困倦|上班打瞌睡"
    ),
    "fatty food": _symptom(
        "discomfort after fatty meals|pain after fatty food|upset after greasy meals",
        "进油腻食物后不适|油腻饮食后加重|吃油腻后腹胀",
    ),
    "stretching": _symptom(
        "relief on leaning forward|less pain when leaning forward|ease when bent forward",
        "前倾位缓解|前倾坐位时减轻|身体前倾后好转",
    ),
    "chills": _symptom("chills|shivering|rigors", "寒战|畏寒发抖|打冷战"),
    # Shared history
    "smoking": _history("smoking|cigarette smoking|tobacco use", "吸烟史|长期吸烟|抽烟习惯"),
    "alcohol": _history("heavy drinking|alcohol excess|drinking spirits daily", "大量饮酒|长期饮酒|每日饮白酒"),
    "immobility": _history("recent bed rest|prolonged immobility|recent long flight", "近期卧床|长期制动|近期长途飞行"),
    "rhinitis": _history("allergic rhinitis|hay fever|pollen allergy", "过敏性鼻炎史|花粉过敏史|尘螨过敏史"),
    "painkillers": _history(
        "regular ibuprofen use|daily ibuprofen|frequent anti-inflammatory tablets",
        "长期服用布洛芬|常服止痛药|频繁服用消炎镇痛药",
    ),
    "contact": _history(
        "contact with a coughing relative|living with a coughing relative|coughing household member",
        "与久咳亲属接触|家中有久咳者|同住者长期咳嗽",
    ),
    # Shared signs
    "crackles": _sign("crackles|moist crackles|lung crepitations", "湿啰音|肺底湿啰音|细湿啰音"),
    "wheeze": _sign("wheeze|expiratory wheeze|wheezing on auscultation", "哮鸣音|呼气相哮鸣音|两肺喘鸣"),
    "quiet lung": _sign(
        "absent breath sounds|missing breath sounds|silent lung field", "呼吸音消失|呼吸音减弱|听不到呼吸音"
    ),
    "edema": _sign(
        "ankle edema|swelling of both ankles|pitting edema of the feet", "双踝水肿|双下肢水肿|足背凹陷性水肿"
    ),
    "leg swelling": _sign(
        "swelling of one leg|swollen left leg|one-sided leg swelling", "左下肢肿胀|单侧下肢肿胀|一侧腿肿", "edema"
    ),
    "neck veins": _sign(
        "distended neck veins|raised jugular veins|full neck veins", "颈静脉怒张|颈静脉充盈|颈部静脉显露"
    ),
    "murmur": _sign("heart murmur|systolic murmur|new murmur", "心脏杂音|收缩期杂音|新出现的杂音"),
    "goitre": _sign("goitre|enlarged thyroid|swelling of the thyroid", "甲状腺肿大|颈部甲状腺肿|甲状腺弥漫性增大"),
    "tremor": _sign(
        "fine hand tremor|fine tremor of the hands|trembling outstretched hands", "双手细颤|手抖|双手平举震颤"
    ),
    "dry skin": _sign("dry skin|rough dry skin|scaly skin", "皮肤干燥|皮肤粗糙干燥|皮肤脱屑"),
    "rebound": _sign("rebound tenderness|rebound pain|pain on release of pressure", "反跳痛|腹部反跳痛|松手时疼痛"),
    "jaundice": _sign("jaundice|yellow sclerae|yellowing of the skin", "黄疸|巩膜黄染|皮肤黄染", "bilirubin"),
    "ascites": _sign("ascites|shifting dullness|fluid in the abdomen", "腹水征|移动性浊音|腹腔积液征"),
    "loin tenderness": _sign(
        "loin tenderness|tender renal angle|pain on tapping the loin", "肾区叩击痛|肋脊角叩痛|腰部叩痛"
    ),
    "lids": _sign("puffy eyelids|swollen eyelids|morning eyelid swelling", "眼睑水肿|眼睑浮肿|晨起眼皮肿"),
    "neck stiffness": _sign("neck stiffness|stiff neck|resistance to neck flexion", "颈强直|颈项强直|屈颈抵抗"),
    "gait": _sign("shuffling gait|shuffling steps|small dragging steps", "慌张步态|小碎步|拖步行走"),
    "pallor": _sign("pallor|pale conjunctivae|pale skin", "面色苍白|睑结膜苍白|皮肤苍白", "hemoglobin"),
    "nails": _sign("brittle nails|spoon-shaped nails|cracked nails", "指甲脆裂|匙状甲|甲面开裂"),
    "mouth ulcers": _sign("mouth ulcers|oral ulcers|sores in the mouth", "口腔溃疡|口腔黏膜溃疡|口内溃烂"),
    "obesity": _sign("obesity|large waist|marked overweight", "肥胖|腹型肥胖|体型明显超重"),
    # Shared values
    "temperature": _vital("T|temperature|body temperature", "T|体温|腋温", "°C", 1, (38.2, 40.1), (36.2, 37.1)),
    "tachycardia": _vital("HR|pulse|heart rate", "HR|脉搏|心率", "/min", 0, (106, 148), (62, 88), "pulse"),
    "bradycardia": _vital("HR|pulse|heart rate", "HR|脉搏|心率", "/min", 0, (38, 52), (62, 88), "pulse"),
    "spo2": _vital("SpO2|oxygen saturation|saturation on air", "SpO2|血氧饱和度|指脉氧", "%", 0, (82, 91), (96, 99)),
    "wbc": _value("WBC|white cells|leukocytes", "WBC|白细胞|白细胞计数", "x10^9/L", 1, (12.4, 21.5), (4.4, 8.9)),
    "crp": _value("CRP|C-reactive protein|serum CRP", "CRP|C反应蛋白|血清CRP", "mg/L", 0, (48, 210), (1, 5)),
    "esr": _value(
        "ESR|sedimentation rate|red cell sedimentation", "ESR|血沉|红细胞沉降率", "mm/h", 0, (46, 104), (4, 14)
    ),
    "d-dimer": _value(
        "D-dimer|plasma D-dimer|D-dimers", "D-二聚体|血浆D-二聚体|D二聚体定量", "mg/L", 2, (1.4, 8.6), (0.08, 0.4)
    ),
    "hemoglobin": _value("Hb|hemoglobin|haemoglobin", "Hb|血红蛋白|血色素", "g/L", 0, (62, 98), (128, 155)),
    "albumin": _value(
        "albumin|serum albumin|plasma albumin", "白蛋白|血清白蛋白|血白蛋白", "g/L", 0, (17, 29), (39, 48)
    ),
    "platelets": _value(
        "platelets|platelet count|thrombocytes", "PLT|血小板|血小板计数", "x10^9/L", 0, (34, 88), (165, 310)
    ),
    "bilirubin": _value(
        "bilirubin|total bilirubin|serum bilirubin", "胆红素|总胆红素|血清胆红素", "umol/L", 0, (52, 230), (6, 17)
    ),
    "potassium": _value("potassium|serum potassium|K", "血钾|血清钾|K", "mmol/L", 1, (5.8, 6.9), (3.7, 4.8)),
    # Keys
    "consolidation": _image(
        "Chest X-ray",
        "胸片",
        "consolidation of the right lower lobe|dense right basal opacity|lobar shadowing on the right",
        "右下肺实变影|右肺下叶大片致密影|右下肺大片状阴影",
    ),
    "bronchial breathing": _sign(
        "bronchial breathing|tubular breath sounds|bronchial breath sounds at the right base",
        "支气管呼吸音|管状呼吸音|右下肺管样呼吸音",
    ),
    "airflow": _value(
        "FEV1/FVC|FEV1/FVC ratio|FEV1 to FVC", "FEV1/FVC|一秒率|一秒用力呼气率", "%", 0, (38, 62), (78, 88)
    ),
    "barrel chest": _sign(
        "barrel chest|barrel-shaped chest|enlarged rounded chest", "桶状胸|胸廓呈桶状|胸廓前后径增大"
    ),
    "reversibility": _value(
        "FEV1 gain after salbutamol|reversibility|FEV1 rise after inhaler",
        "支气管舒张试验改善率|舒张后FEV1改善|吸入后FEV1升高",
        "%",
        0,
        (16, 34),
        (1, 6),
    ),
    "feno": _value("FeNO|exhaled nitric oxide|exhaled NO", "FeNO|呼出气一氧化氮|呼气NO", "ppb", 0, (58, 120), (9, 20)),
    "filling defect": _image(
        "CT angiography",
        "肺动脉CTA",
        "filling defect in the pulmonary artery|pulmonary artery thrombus|clot in a lobar artery",
        "肺动脉充盈缺损|肺动脉内血栓|肺叶动脉内栓子",
    ),
    "right strain": _image(
        "Echocardiography",
        "心脏超声",
        "right ventricular strain|dilated right ventricle|overloaded right ventricle",
        "右心室负荷增加|右心室扩大|右室压力增高",
    ),
    "cavity": _image(
        "Chest CT",
        "胸部CT",
        "cavity in the left upper lobe|upper lobe cavity|thick-walled apical cavity",
        "左上肺空洞|上叶空洞形成|肺尖厚壁空洞",
    ),
    "bacilli": _assay(
        "acid-fast bacilli in sputum|sputum acid-fast smear|sputum AFB", "痰抗酸杆菌|痰涂片抗酸染色|痰查抗酸菌"
    ),
    "collapsed lung": _image(
        "Chest film",
        "胸部X线",
        "visible pleural line with collapsed lung|partial collapse of the left lung|air between lung and chest wall",
        "脏层胸膜线伴肺压缩|左肺部分压缩|胸膜腔积气",
    ),
    "hyperresonance": _sign(
        "hyperresonance on the left|hollow percussion note|drum-like percussion",
        "左胸叩诊鼓音|叩诊过清音|叩诊呈空瓮音",
    ),
    "bnp": _value(
        "BNP|brain natriuretic peptide|plasma BNP", "BNP|脑钠肽|血浆脑钠肽", "pg/mL", 0, (420, 2900), (12, 70)
    ),
    "ejection": _value(
        "LVEF|ejection fraction|left ventricular EF", "LVEF|射血分数|左室射血分数", "%", 0, (21, 38), (57, 68)
    ),
    "troponin": _value(
        "troponin I|cTnI|cardiac troponin", "肌钙蛋白I|cTnI|心肌肌钙蛋白", "ng/mL", 2, (0.9, 18.0), (0.0, 0.03)
    ),
    "st elevation": _image(
        "ECG",
        "心电图",
        "ST elevation in V1-V4|raised ST segments in the anterior leads|anterior ST elevation",
        "V1-V4导联ST段抬高|前壁导联ST段弓背抬高|胸前导联ST段上抬",
    ),
    "no p waves": _image(
        "Rhythm strip",
        "动态心电图",
        "absent P waves with irregular RR intervals|fibrillatory waves|irregularly irregular complexes",
        "P波消失伴RR间期绝对不齐|可见f波|RR间期绝对不规则",
    ),
    "pulse deficit": _sign(
        "irregularly irregular pulse|pulse deficit|utterly irregular pulse",
        "脉搏短绌|脉律绝对不齐|脉率小于心率",
    ),
    "pressure": Finding(
        "vital",
        _wordings("BP|blood pressure|arterial pressure", "BP|血压|动脉血压"),
        unit="mmHg",
        present=(162, 204),
        absent=(104, 128),
        present_low=(98, 118),
        absent_low=(62, 80),
    ),
    "thick ventricle": _image(
        "Cardiac ultrasound",
        "超声心动图",
        "thickening of the left ventricular wall|left ventricular hypertrophy|thick septum and left ventricle",
        "左室壁增厚|左心室肥厚|室间隔及左室后壁增厚",
    ),
    "friction rub": _sign(
        "pericardial friction rub|scratchy rub over the heart|rub at the left sternal edge",
        "心包摩擦音|心前区摩擦音|胸骨左缘搔抓样音",
    ),
    "saddle st": _image(
        "Twelve-lead ECG",
        "十二导联心电图",
        "widespread saddle-shaped ST segments|diffuse concave ST changes|concave ST shifts in all leads",
        "广泛导联ST段凹面向上|弥漫性鞍形ST段改变|多导联ST段凹型上移",
    ),
    "vegetation": _image(
        "Transesophageal echo",
        "经食管超声",
        "vegetation on the mitral valve|mobile valve mass|floating mass on the valve",
        "二尖瓣赘生物|瓣膜活动性赘生物|瓣叶上飘动团块",
    ),
    "blood culture": _assay(
        "blood culture for streptococci|repeated blood cultures|blood cultures in three bottles",
        "血培养链球菌|多次血培养|三瓶血培养",
    ),
    "glucose": _value(
        "fasting glucose|glucose|plasma glucose", "空腹血糖|血糖|血浆葡萄糖", "mmol/L", 1, (9.4, 19.8), (4.3, 5.7)
    ),
    "hba1c": _value(
        "HbA1c|glycated hemoglobin|A1c", "HbA1c|糖化血红蛋白|糖化血红蛋白A1c", "%", 1, (7.6, 12.4), (4.6, 5.5)
    ),
    "tsh low": _value(
        "TSH|thyrotropin|serum TSH", "TSH|促甲状腺激素|血清TSH", "mIU/L", 2, (0.01, 0.08), (0.9, 3.4), "tsh"
    ),
    "ft4 high": _value(
        "free T4|FT4|free thyroxine", "FT4|游离T4|游离甲状腺素", "pmol/L", 1, (34.0, 72.0), (12.5, 19.0), "ft4"
    ),
    "tsh high": _value(
        "TSH|thyrotropin|serum TSH", "TSH|促甲状腺激素|血清TSH", "mIU/L", 2, (14.0, 92.0), (0.9, 3.4), "tsh"
    ),
    "ft4 low": _value(
        "free T4|FT4|free thyroxine", "FT4|游离T4|游离甲状腺素", "pmol/L", 1, (2.5, 7.8), (12.5, 19.0), "ft4"
    ),
    "mcburney": _sign(
        "tenderness at McBurney's point|right iliac fossa tenderness|tender right lower quadrant",
        "麦氏点压痛|右下腹固定压痛|右髂窝压痛",
    ),
    "thick appendix": _image(
        "Right lower quadrant ultrasound",
        "阑尾超声",
        "thickened appendix|appendix of 11 mm|swollen tubular appendix",
        "阑尾增粗|阑尾直径11mm|阑尾肿胀呈管状",
    ),
    "murphy": _sign(
        "positive Murphy's sign|catch of breath on right subcostal pressure|arrest of inspiration on palpation",
        "墨菲征阳性|右肋缘下压痛伴屏气|深吸气触痛中断",
    ),
    "gallbladder": _image(
        "Abdominal ultrasound",
        "腹部超声",
        "thick gallbladder wall|gallbladder wall oedema|double-layered gallbladder wall",
        "胆囊壁增厚|胆囊壁水肿|胆囊壁呈双边征",
    ),
    "lipase": _value("lipase|serum lipase|blood lipase", "脂肪酶|血脂肪酶|血清脂肪酶", "U/L", 0, (620, 3400), (18, 54)),
    "pancreas": _image(
        "Abdominal CT",
        "腹部CT",
        "swollen pancreas with fluid around it|peripancreatic fluid|enlarged hazy pancreas",
        "胰腺肿胀伴周围渗出|胰周积液|胰腺增大边缘模糊",
    ),
    "ulcer": _image(
        "Gastroscopy",
        "胃镜",
        "ulcer of the duodenal bulb|deep duodenal ulcer crater|gastric angle ulcer",
        "十二指肠球部溃疡|球部深溃疡面|胃角溃疡",
    ),
    "pylori": _assay(
        "urea breath test|H. pylori breath test|Helicobacter test", "碳13呼气试验|幽门螺杆菌检测|Hp呼气试验"
    ),
    "nodular liver": _image(
        "Liver ultrasound",
        "肝脏超声",
        "small nodular liver|coarse liver echoes with a nodular edge|shrunken uneven liver",
        "肝脏缩小呈结节状|肝回声粗糙表面不平|肝体积缩小边缘凹凸",
    ),
    "spiders": _sign(
        "spider naevi|spider angiomas on the chest|star-shaped vessels on the chest", "蜘蛛痣|胸前蜘蛛痣|颈胸部星状血管"
    ),
    "esophagitis": _image(
        "Upper endoscopy",
        "上消化道内镜",
        "erosions of the lower esophagus|distal esophageal erosions|mucosal breaks above the cardia",
        "食管下段糜烂|食管远端黏膜糜烂|贲门上方黏膜破损",
    ),
    "acid time": _value(
        "acid exposure time|esophageal acid time|time with pH below 4",
        "食管酸暴露时间|酸暴露时间|pH小于4时间占比",
        "%",
        1,
        (8.2, 19.0),
        (0.6, 3.2),
    ),
    "alt": _value(
        "ALT|alanine aminotransferase|serum ALT", "ALT|谷丙转氨酶|丙氨酸氨基转移酶", "U/L", 0, (560, 2400), (12, 36)
    ),
    "hbsag": _assay("HBsAg|hepatitis B surface antigen|HBV surface antigen", "HBsAg|乙肝表面抗原|乙型肝炎表面抗原"),
    "urine white": _value(
        "urine white cells|leukocytes in urine|urinary WBC",
        "尿白细胞|尿沉渣白细胞|尿液WBC",
        "/HPF",
        0,
        (35, 180),
        (0, 4),
    ),
    "urine culture": _assay(
        "urine culture for E. coli|urine culture|midstream urine culture", "尿培养大肠埃希菌|尿培养|中段尿培养"
    ),
    "stone": _image(
        "Non-contrast CT",
        "泌尿系CT",
        "6 mm stone in the left ureter|ureteric stone|calculus in the renal pelvis",
        "左输尿管6mm结石|输尿管结石影|肾盂高密度结石",
    ),
    "urine red": _value(
        "urine red cells|red cells in urine|urinary RBC", "尿红细胞|尿沉渣红细胞|尿液RBC", "/HPF", 0, (40, 220), (0, 2)
    ),
    "proteinuria": _value(
        "24-hour urine protein|urine protein|protein excretion",
        "24小时尿蛋白|尿蛋白定量|尿蛋白排出",
        "g/24h",
        2,
        (4.1, 12.5),
        (0.03, 0.12),
    ),
    "fat bodies": _image(
        "Urine microscopy",
        "尿沉渣镜检",
        "oval fat bodies|fatty casts|lipid-laden casts",
        "卵圆形脂肪小体|脂肪管型|含脂肪滴管型",
    ),
    "creatinine": _value(
        "creatinine|serum creatinine|blood creatinine", "肌酐|血肌酐|血清肌酐", "umol/L", 0, (240, 860), (52, 92)
    ),
    "small kidneys": _image(
        "Renal ultrasound",
        "肾脏超声",
        "small kidneys with thin cortex|bilaterally shrunken kidneys|thinned renal cortex on both sides",
        "双肾缩小皮质变薄|双肾萎缩|双侧肾皮质菲薄",
    ),
    "infarct": _image(
        "Brain MRI",
        "头颅MRI",
        "restricted diffusion in the left hemisphere|fresh left hemispheric lesion|bright lesion on diffusion images",
        "左侧半球弥散受限|左大脑半球新鲜病灶|DWI高信号灶",
    ),
    "facial droop": _sign(
        "drooping corner of the mouth|right facial droop|flattening of the right nasolabial fold",
        "口角歪斜|右侧中枢性面瘫|右侧鼻唇沟变浅",
    ),
    "aura": _symptom(
        "zigzag lines before the attack|flickering lights beforehand|shimmering blind spot",
        "发作前闪光暗点|发作前眼前锯齿线|先有视野闪烁",
    ),
    "throbbing": _symptom(
        "throbbing on one side of the head|one-sided pulsating pain|pulsating temple pain",
        "单侧搏动样头部跳痛|一侧头部跳痛|颞部搏动性痛",
    ),
    "csf cells": _value(
        "CSF white cells|cerebrospinal fluid leukocytes|cells in CSF",
        "脑脊液白细胞|CSF白细胞|脑脊液细胞数",
        "x10^6/L",
        0,
        (850, 4600),
        (0, 4),
    ),
    "kernig": _sign(
        "positive Kernig's sign|positive Brudzinski's sign|pain on knee extension with flexed hip",
        "克氏征阳性|布氏征阳性|屈髋伸膝疼痛",
    ),
    "eeg": _image(
        "EEG",
        "脑电图",
        "spike-and-wave discharges|temporal sharp waves|paroxysmal spikes",
        "棘慢波发放|颞区尖波|阵发性棘波",
    ),
    "convulsion": _symptom(
        "jerking of all limbs with loss of consciousness|witnessed convulsion|stiffening and shaking fits",
        "四肢抽搐伴意识丧失|发作性抽搐|全身强直抽动",
    ),
    "rigidity": _sign(
        "cogwheel rigidity|rigidity of the wrists|ratchet-like resistance", "齿轮样强直|腕部肌张力齿轮样增高|铅管样强直"
    ),
    "rest tremor": _sign(
        "pill-rolling tremor at rest|resting tremor|slow tremor at rest",
        "静止性震颤|搓丸样震颤|静息时手部粗颤",
        "tremor",
    ),
    "ferritin": _value(
        "ferritin|serum ferritin|iron stores (ferritin)", "铁蛋白|血清铁蛋白|SF", "ug/L", 0, (3, 9), (65, 190)
    ),
    "mcv": _value(
        "MCV|mean cell volume|red cell volume", "MCV|平均红细胞体积|红细胞平均容积", "fL", 0, (58, 72), (84, 95)
    ),
    "vein clot": _image(
        "Leg vein ultrasound",
        "下肢静脉超声",
        "incompressible femoral vein|clot in the popliteal vein|vein filled with thrombus",
        "股静脉不能压瘪|腘静脉内血栓|静脉腔内低回声充填",
    ),
    "calf": _value(
        "calf circumference difference|difference between calves|calf girth difference",
        "小腿周径差|双小腿周径相差|双侧小腿围差",
        "cm",
        1,
        (3.4, 6.8),
        (0.0, 0.6),
    ),
    "ccp": _value(
        "anti-CCP|CCP antibody|anti-citrullinated peptide",
        "抗CCP抗体|抗环瓜氨酸肽抗体|CCP抗体",
        "U/mL",
        0,
        (85, 640),
        (1, 9),
    ),
    "erosions": _image(
        "Hand X-ray",
        "手部X线",
        "erosions of the finger joints|marginal bone erosions|eaten-away joint margins",
        "指间关节骨侵蚀|关节边缘骨质破坏|关节面虫蚀样改变",
    ),
    "dsdna": _value(
        "anti-dsDNA|dsDNA antibody|double-stranded DNA antibody",
        "抗dsDNA抗体|抗双链DNA抗体|dsDNA抗体",
        "IU/mL",
        0,
        (180, 860),
        (2, 14),
    ),
    "malar rash": _sign(
        "butterfly rash on the face|malar rash|redness over cheeks and nose", "面部蝶形红斑|颊部红斑|鼻颊部红疹"
    ),
    "uric acid": _value(
        "uric acid|serum urate|blood urate", "尿酸|血尿酸|血清尿酸", "umol/L", 0, (520, 780), (210, 350)
    ),
    "crystals": _image(
        "Joint fluid microscopy",
        "关节液镜检",
        "needle-shaped crystals|urate crystals|negatively birefringent needles",
        "针状结晶|尿酸盐结晶|负性双折光针状晶体",
    ),
    "spreading redness": _sign(
        "spreading warm redness of the shin|hot red area on the shin|expanding red warm patch",
        "小腿皮肤红热扩散|胫前大片红肿热|皮肤红斑边界不清渐扩大",
    ),
    "orange peel": _sign(
        "orange-peel skin|dimpled swollen skin|peau d'orange over the shin",
        "皮肤橘皮样变|皮肤呈橘皮状|局部皮肤凹点样肿",
    ),
    "flu antigen": _assay(
        "flu A antigen|rapid flu test|nasal swab for flu virus", "甲流抗原|流感快速检测|鼻拭子甲流病毒"
    ),
    "flu contact": _history(
        "sick classmates with flu|outbreak of flu at work|flu in the household",
        "班级流感聚集|单位流感暴发|家人患流感",
    ),
    "phq": _value(
        "PHQ-9 score|PHQ-9|mood questionnaire score",
        "PHQ-9评分|PHQ-9|抑郁筛查量表得分",
        "points",
        0,
        (17, 26),
        (0, 4),
    ),
    "low mood": _symptom(
        "low mood with loss of interest|feeling hopeless|joylessness for weeks",
        "情绪低落兴趣丧失|自觉绝望|数周无愉快感",
    ),
    "ahi": _value(
        "AHI|apnea-hypopnea index|apneas per hour (AHI)",
        "AHI|呼吸暂停低通气指数|睡眠监测AHI",
        "/h",
        0,
        (28, 76),
        (0, 4),
    ),
    "apnea": _symptom(
        "pauses in breathing seen by the partner|witnessed apneas|stopping breathing in sleep",
        "配偶见睡眠中呼吸暂停|夜间呼吸停顿|睡眠中憋醒停气",
    ),
}


def _disease(
    en: str,
    zh: str,
    keys: tuple[str, ...],
    others: Mapping[str, float],
    ages: tuple[int, int],
    *,
    curable: bool = False,
) -> Disease:
    return Disease({"en": en, "zh": zh}, keys, others, ages, curable)


DISEASES: tuple[Disease, ...] = (
    _disease(
        "pneumonia",
        "肺炎",
        ("consolidation", "bronchial breathing"),
        {
            "cough": 0.8,
            "sputum": 0.6,
            "temperature": 0.8,
            "dyspnea": 0.4,
            "crackles": 0.6,
            "wbc": 0.6,
            "crp": 0.6,
            "chills": 0.3,
            "spo2": 0.3,
        },
        (18, 88),
        curable=True,
    ),
    _disease(
        "chronic obstructive pulmonary disease",
        "慢性阻塞性肺疾病",
        ("airflow", "barrel chest"),
        {"dyspnea": 0.8, "cough": 0.7, "sputum": 0.3, "wheeze": 0.5, "smoking": 0.7, "spo2": 0.5, "fatigue": 0.3},
        (48, 86),
    ),
    _disease(
        "asthma",
        "哮喘",
        ("reversibility", "feno"),
        {
            "wheeze": 0.8,
            "dyspnea": 0.7,
            "night cough": 0.5,
            "chest tightness": 0.5,
            "rhinitis": 0.5,
            "tachycardia": 0.2,
        },
        (14, 60),
    ),
    _disease(
        "pulmonary embolism",
        "肺栓塞",
        ("filling defect", "right strain"),
        {
            "dyspnea": 0.8,
            "chest pain": 0.6,
            "hemoptysis": 0.3,
            "tachycardia": 0.6,
            "d-dimer": 0.7,
            "immobility": 0.5,
            "spo2": 0.6,
        },
        (25, 84),
        curable=True,
    ),
    _disease(
        "pulmonary tuberculosis",
        "肺结核",
        ("cavity", "bacilli"),
        {
            "cough": 0.7,
            "hemoptysis": 0.4,
            "night sweats": 0.7,
            "weight loss": 0.6,
            "fatigue": 0.4,
            "esr": 0.5,
            "contact": 0.4,
            "temperature": 0.4,
        },
        (18, 78),
        curable=True,
    ),
    _disease(
        "pneumothorax",
        "气胸",
        ("collapsed lung", "hyperresonance"),
        {
            "chest pain": 0.8,
            "dyspnea": 0.8,
            "quiet lung": 0.7,
            "tachycardia": 0.4,
            "smoking": 0.4,
            "spo2": 0.4,
            "cough": 0.2,
        },
        (16, 65),
        curable=True,
    ),
    _disease(
        "heart failure",
        "心力衰竭",
        ("bnp", "ejection"),
        {
            "dyspnea": 0.8,
            "orthopnea": 0.6,
            "edema": 0.6,
            "crackles": 0.5,
            "neck veins": 0.5,
            "fatigue": 0.5,
            "night cough": 0.2,
        },
        (45, 90),
    ),
    _disease(
        "acute myocardial infarction",
        "急性心肌梗死",
        ("troponin", "st elevation"),
        {
            "chest pain": 0.9,
            "sweating": 0.6,
            "arm pain": 0.5,
            "nausea": 0.4,
            "dyspnea": 0.3,
            "smoking": 0.5,
            "chest tightness": 0.3,
        },
        (38, 88),
    ),
    _disease(
        "atrial fibrillation",
        "心房颤动",
        ("no p waves", "pulse deficit"),
        {
            "palpitations": 0.8,
            "dizziness": 0.4,
            "fatigue": 0.5,
            "dyspnea": 0.3,
            "tachycardia": 0.5,
            "chest tightness": 0.2,
        },
        (48, 90),
    ),
    _disease(
        "hypertension",
        "高血压",
        ("pressure", "thick ventricle"),
        {"headache": 0.5, "dizziness": 0.6, "palpitations": 0.3, "obesity": 0.4, "blurred vision": 0.2, "fatigue": 0.2},
        (35, 85),
    ),
    _disease(
        "acute pericarditis",
        "急性心包炎",
        ("friction rub", "saddle st"),
        {
            "chest pain": 0.9,
            "stretching": 0.6,
            "temperature": 0.5,
            "tachycardia": 0.4,
            "crp": 0.6,
            "dyspnea": 0.3,
            "muscle ache": 0.2,
        },
        (18, 65),
        curable=True,
    ),
    _disease(
        "infective endocarditis",
        "感染性心内膜炎",
        ("vegetation", "blood culture"),
        {
            "temperature": 0.8,
            "murmur": 0.7,
            "night sweats": 0.4,
            "fatigue": 0.5,
            "weight loss": 0.3,
            "esr": 0.5,
            "chills": 0.5,
            "hemoglobin": 0.3,
        },
        (22, 80),
        curable=True,
    ),
    _disease(
        "type 2 diabetes",
        "2型糖尿病",
        ("glucose", "hba1c"),
        {
            "thirst": 0.7,
            "polyuria": 0.6,
            "weight loss": 0.4,
            "blurred vision": 0.3,
            "fatigue": 0.5,
            "obesity": 0.5,
            "frequency": 0.2,
            "itching": 0.2,
        },
        (32, 82),
    ),
    _disease(
        "hyperthyroidism",
        "甲状腺功能亢进症",
        ("tsh low", "ft4 high"),
        {
            "palpitations": 0.7,
            "weight loss": 0.6,
            "tremor": 0.5,
            "heat": 0.6,
            "sweating": 0.5,
            "goitre": 0.5,
            "tachycardia": 0.6,
            "insomnia": 0.3,
        },
        (18, 65),
    ),
    _disease(
        "hypothyroidism",
        "甲状腺功能减退症",
        ("tsh high", "ft4 low"),
        {
            "fatigue": 0.7,
            "weight gain": 0.6,
            "cold": 0.6,
            "constipation": 0.5,
            "dry skin": 0.5,
            "bradycardia": 0.4,
            "lids": 0.3,
            "goitre": 0.2,
        },
        (25, 80),
    ),
    _disease(
        "acute appendicitis",
        "急性阑尾炎",
        ("mcburney", "thick appendix"),
        {
            "abdominal pain": 0.9,
            "nausea": 0.6,
            "vomiting": 0.5,
            "temperature": 0.5,
            "wbc": 0.7,
            "rebound": 0.5,
            "appetite": 0.5,
        },
        (14, 60),
        curable=True,
    ),
    _disease(
        "acute cholecystitis",
        "急性胆囊炎",
        ("murphy", "gallbladder"),
        {
            "abdominal pain": 0.9,
            "fatty food": 0.5,
            "nausea": 0.6,
            "vomiting": 0.5,
            "temperature": 0.6,
            "wbc": 0.6,
            "jaundice": 0.2,
            "back pain": 0.2,
        },
        (28, 80),
        curable=True,
    ),
    _disease(
        "acute pancreatitis",
        "急性胰腺炎",
        ("lipase", "pancreas"),
        {
            "abdominal pain": 0.9,
            "back pain": 0.5,
            "vomiting": 0.7,
            "nausea": 0.6,
            "alcohol": 0.5,
            "temperature": 0.3,
            "wbc": 0.5,
            "fatty food": 0.2,
        },
        (25, 75),
        curable=True,
    ),
    _disease(
        "peptic ulcer",
        "消化性溃疡",
        ("ulcer", "pylori"),
        {
            "abdominal pain": 0.8,
            "black stool": 0.5,
            "heartburn": 0.3,
            "nausea": 0.3,
            "hemoglobin": 0.4,
            "painkillers": 0.5,
            "smoking": 0.3,
            "pallor": 0.2,
        },
        (22, 78),
        curable=True,
    ),
    _disease(
        "liver cirrhosis",
        "肝硬化",
        ("nodular liver", "spiders"),
        {
            "fatigue": 0.5,
            "ascites": 0.6,
            "jaundice": 0.5,
            "albumin": 0.6,
            "platelets": 0.5,
            "alcohol": 0.5,
            "appetite": 0.4,
            "edema": 0.4,
            "bilirubin": 0.4,
        },
        (38, 78),
    ),
    _disease(
        "gastroesophageal reflux disease",
        "胃食管反流病",
        ("esophagitis", "acid time"),
        {
            "heartburn": 0.8,
            "regurgitation": 0.7,
            "chest pain": 0.4,
            "night cough": 0.3,
            "obesity": 0.3,
            "sore throat": 0.2,
        },
        (22, 75),
    ),
    _disease(
        "acute hepatitis b",
        "急性乙型肝炎",
        ("alt", "hbsag"),
        {
            "jaundice": 0.6,
            "dark urine": 0.6,
            "fatigue": 0.7,
            "nausea": 0.5,
            "appetite": 0.6,
            "bilirubin": 0.6,
            "temperature": 0.2,
            "abdominal pain": 0.2,
        },
        (18, 62),
        curable=True,
    ),
    _disease(
        "urinary tract infection",
        "尿路感染",
        ("urine white", "urine culture"),
        {
            "dysuria": 0.8,
            "frequency": 0.7,
            "flank pain": 0.3,
            "temperature": 0.4,
            "hematuria": 0.2,
            "loin tenderness": 0.3,
            "chills": 0.3,
        },
        (18, 85),
        curable=True,
    ),
    _disease(
        "kidney stones",
        "肾结石",
        ("stone", "urine red"),
        {
            "flank pain": 0.9,
            "hematuria": 0.5,
            "nausea": 0.5,
            "vomiting": 0.4,
            "loin tenderness": 0.6,
            "frequency": 0.2,
            "sweating": 0.2,
        },
        (22, 70),
        curable=True,
    ),
    _disease(
        "nephrotic syndrome",
        "肾病综合征",
        ("proteinuria", "fat bodies"),
        {
            "edema": 0.8,
            "lids": 0.6,
            "frothy urine": 0.7,
            "albumin": 0.7,
            "weight gain": 0.4,
            "fatigue": 0.3,
            "ascites": 0.2,
        },
        (14, 70),
    ),
    _disease(
        "chronic kidney disease",
        "慢性肾脏病",
        ("creatinine", "small kidneys"),
        {
            "fatigue": 0.6,
            "itching": 0.5,
            "edema": 0.4,
            "appetite": 0.5,
            "hemoglobin": 0.6,
            "potassium": 0.5,
            "nausea": 0.3,
            "frothy urine": 0.2,
        },
        (35, 85),
    ),
    _disease(
        "ischemic stroke",
        "脑梗死",
        ("infarct", "facial droop"),
        {
            "speech": 0.7,
            "weak limb": 0.8,
            "dizziness": 0.3,
            "headache": 0.2,
            "confusion": 0.3,
            "smoking": 0.4,
            "falls": 0.2,
        },
        (48, 90),
    ),
    _disease(
        "migraine",
        "偏头痛",
        ("aura", "throbbing"),
        {"headache": 0.8, "nausea": 0.6, "vomiting": 0.4, "photophobia": 0.7, "dizziness": 0.3, "blurred vision": 0.2},
        (15, 55),
    ),
    _disease(
        "bacterial meningitis",
        "细菌性脑膜炎",
        ("csf cells", "kernig"),
        {
            "headache": 0.8,
            "temperature": 0.8,
            "neck stiffness": 0.7,
            "photophobia": 0.4,
            "vomiting": 0.5,
            "confusion": 0.5,
            "wbc": 0.6,
            "chills": 0.3,
        },
        (14, 75),
        curable=True,
    ),
    _disease(
        "epilepsy",
        "癫痫",
        ("eeg", "convulsion"),
        {"confusion": 0.6, "tongue bite": 0.6, "headache": 0.4, "muscle ache": 0.4, "falls": 0.4, "fatigue": 0.2},
        (14, 70),
    ),
    _disease(
        "parkinson's disease",
        "帕金森病",
        ("rigidity", "rest tremor"),
        {
            "slow movement": 0.8,
            "gait": 0.6,
            "constipation": 0.5,
            "smell": 0.5,
            "falls": 0.4,
            "insomnia": 0.3,
            "speech": 0.2,
        },
        (50, 86),
    ),
    _disease(
        "iron deficiency anemia",
        "缺铁性贫血",
        ("ferritin", "mcv"),
        {
            "fatigue": 0.7,
            "pallor": 0.6,
            "hemoglobin": 0.8,
            "dizziness": 0.5,
            "palpitations": 0.4,
            "nails": 0.4,
            "hair loss": 0.2,
        },
        (16, 75),
    ),
    _disease(
        "deep vein thrombosis",
        "下肢深静脉血栓",
        ("vein clot", "calf"),
        {"leg swelling": 0.8, "calf pain": 0.8, "d-dimer": 0.7, "immobility": 0.6, "smoking": 0.2},
        (25, 82),
        curable=True,
    ),
    _disease(
        "rheumatoid arthritis",
        "类风湿关节炎",
        ("ccp", "erosions"),
        {"joint pain": 0.8, "stiffness": 0.7, "esr": 0.6, "crp": 0.5, "fatigue": 0.4, "nails": 0.1, "weight loss": 0.2},
        (25, 75),
    ),
    _disease(
        "systemic lupus erythematosus",
        "系统性红斑狼疮",
        ("dsdna", "malar rash"),
        {
            "joint pain": 0.7,
            "fatigue": 0.6,
            "hair loss": 0.5,
            "mouth ulcers": 0.5,
            "temperature": 0.4,
            "platelets": 0.4,
            "esr": 0.5,
            "edema": 0.2,
        },
        (15, 55),
    ),
    _disease(
        "gout",
        "痛风",
        ("uric acid", "crystals"),
        {"toe pain": 0.8, "joint pain": 0.5, "alcohol": 0.5, "obesity": 0.4, "crp": 0.4, "temperature": 0.2},
        (32, 80),
    ),
    _disease(
        "cellulitis",
        "蜂窝织炎",
        ("spreading redness", "orange peel"),
        {
            "leg swelling": 0.6,
            "temperature": 0.6,
            "wbc": 0.6,
            "crp": 0.6,
            "chills": 0.5,
            "calf pain": 0.4,
            "obesity": 0.3,
        },
        (25, 85),
        curable=True,
    ),
    _disease(
        "influenza",
        "流行性感冒",
        ("flu antigen", "flu contact"),
        {
            "temperature": 0.9,
            "muscle ache": 0.7,
            "headache": 0.5,
            "cough": 0.6,
            "sore throat": 0.5,
            "fatigue": 0.5,
            "chills": 0.4,
        },
        (14, 80),
        curable=True,
    ),
    _disease(
        "depression",
        "抑郁症",
        ("phq", "low mood"),
        {
            "insomnia": 0.7,
            "fatigue": 0.6,
            "appetite": 0.5,
            "weight loss": 0.4,
            "slow movement": 0.2,
            "headache": 0.2,
            "constipation": 0.2,
        },
        (16, 75),
    ),
    _disease(
        "obstructive sleep apnea",
        "阻塞性睡眠呼吸暂停",
        ("ahi", "apnea"),
        {"snoring": 0.8, "sleepiness": 0.7, "obesity": 0.6, "headache": 0.4, "insomnia": 0.3, "fatigue": 0.3},
        (28, 70),
    ),
)
"""Names are unique in either language."""
