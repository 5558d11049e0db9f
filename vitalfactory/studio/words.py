"""Every word that the studio writes on its page, in English and in Chinese; what a script says stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vitalfactory.errors import VitalFactoryError


@dataclass(frozen=True)
class Words:
    """The words of one language; ``{...}`` stands for what is filled in."""

    language: str
    title: str
    not_a_device: str
    other_language: str
    other_language_name: str
    tab_build: str
    tab_look: str
    tab_train: str
    tab_ask: str
    tab_results: str
    tasks: Mapping[str, str]
    # What all parts say.
    problem: str
    unexpected: str
    ended: str
    cancelled: str
    cancel: str
    starting: str
    working: str
    done: str
    seconds: str
    command: str
    commands: str
    split: str
    rows: str
    groups: str
    labels: str
    dataset: str
    recipe: str
    run: str
    synthetic: str
    stand_in: str
    # Build.
    build_about: str
    task: str
    source: str
    source_info: str
    made: str
    made_info: str
    label_file: str
    label_file_info: str
    form: str
    form_info: str
    rows_language: str
    recipe_info: str
    name: str
    name_info: str
    limit: str
    limit_info: str
    replace: str
    trial: str
    build: str
    counts: str
    reason: str
    left_out: str
    nothing_left_out: str
    built: str
    # Look.
    look_about: str
    recipe_prompt: str
    back: str
    forward: str
    page: str
    page_of: str
    asked: str
    answered: str
    prompt: str
    rendering: str
    tokens_told: str
    not_at_hand: str
    ecg_of: str
    epoch_of: str
    image_of: str
    no_datasets: str
    # Train.
    train_about: str
    check: str
    checking: str
    train_command: str
    running_jobs: str
    run_info: str
    no_loss: str
    no_runs_yet: str
    no_data_yet: str
    run_told: str
    loss_of: str
    recipe_ok: str
    lengths: str
    estimate: str
    figure: str
    value: str
    rows_a_step: str
    steps_an_epoch: str
    tokens_an_epoch: str
    memory: str
    # Ask.
    ask_about: str
    tuned_on: str
    tuned_on_info: str
    tuned_with: str
    tuned_with_info: str
    endpoint: str
    endpoint_info: str
    served_model: str
    served_model_info: str
    key: str
    key_info: str
    drop: str
    drop_about: str
    largest: str
    dropped: str
    typed: str
    epoch: str
    epoch_info: str
    ask: str
    forget: str
    forgotten: str
    telling: str
    asking: str
    weighing: str
    probabilities: str
    no_probabilities: str
    its_words: str
    read_as: str
    unread: str
    # Results.
    results_about: str
    first_run: str
    second_run: str
    show_reports: str
    compare: str
    comparing: str
    model: str
    split_rows: str
    figures: str
    intervals: str
    no_results: str
    unreadable_run: str
    report: str
    no_report: str
    side_by_side: str
    difference: str
    only_right: str
    as_written: str
    # Drawings.
    axis_seconds: str
    axis_seconds_of_night: str
    axis_millivolts: str
    axis_microvolts: str
    axis_hertz: str
    axis_decibels: str
    axis_beat: str
    axis_steps: str
    axis_loss: str
    axis_train: str
    axis_val: str
    # What is refused.
    outside: str
    dots: str
    link: str
    no_source: str
    no_name: str
    no_count: str
    not_offered: str
    exists: str
    no_such: str
    no_such_row: str
    image_outside: str
    not_an_address: str
    another_machine: str
    bad_key: str
    wrong_kind: str
    one_file: str
    drop_again: str
    not_text: str
    nothing_asked: str
    too_long: str
    no_epoch: str
    choose_run: str
    choose_two: str
    renderer_ended: str


ENGLISH = Words(
    language="en",
    title="VitalFactory studio",
    not_a_device="Not a medical device. Nothing on this page may guide the care of a person.",
    other_language="/zh/",
    other_language_name="中文",
    tab_build="Build",
    tab_look="Look",
    tab_train="Train",
    tab_ask="Ask",
    tab_results="Results",
    tasks={
        "ecg": "ECG: atrial fibrillation",
        "eeg": "EEG: sleep stages",
        "clinical": "Clinical notes: diagnoses",
        "medqa": "Medical questions",
        "cxr": "Chest X-rays: findings",
    },
    problem="This did not work.",
    unexpected=(
        "Something went wrong that was not foreseen ({kind}); start the studio with --debug to see it in the terminal"
    ),
    ended="the script ended with exit code {code}; run its command in a terminal to see why",
    cancelled="Cancelled. Nothing half-written was left behind.",
    cancel="Cancel",
    starting="Starting …",
    working="working",
    done="Done.",
    seconds="{seconds} s",
    command="Command that runs",
    commands="Commands that run",
    split="Split",
    rows="Rows",
    groups="Groups",
    labels="Labels",
    dataset="Dataset",
    recipe="Recipe",
    run="Run",
    synthetic="synthetic",
    stand_in="Counted with the embedded model's tokenizer: the recipe's own is not at hand.",
    build_about=(
        "A source becomes a dataset that LLaMA-Factory trains on, written and registered by the task's converter."
    ),
    task="Task",
    source="Source",
    source_info="a folder or a file, below the folders that the studio was started with",
    made="Or make so many",
    made_info="synthetic ones, which say nothing about patients; 0 for none",
    label_file="Labels",
    label_file_info="the file with the diagnoses, where the notes do not carry theirs",
    form="Representation",
    form_info="how a recording is told to the model",
    rows_language="Language of the rows",
    recipe_info="every row must fit its template and its cutoff",
    name="Name",
    name_info="of the dataset, in data/",
    limit="At most",
    limit_info="records, drawn by the seed; 0 for all",
    replace="Replace a dataset of this name",
    trial="Try {count} records",
    build="Write the dataset",
    counts="Written",
    reason="Reason",
    left_out="Left out",
    nothing_left_out="Nothing was left out.",
    built="{seconds} s; the longest row has {longest} of {cutoff} tokens ({whose}).",
    look_about="The rows of a dataset, what each was told of, and the exact prompt that a model is trained on.",
    recipe_prompt="whose template and tokenizer render the prompt",
    back="← Back",
    forward="On →",
    page="Page",
    page_of="Page {page} of {pages}, {rows} rows.",
    asked="What is asked",
    answered="What is answered",
    prompt="The prompt as it is trained on; the answer is marked",
    rendering="LLaMA-Factory renders the prompt; the first one takes up to a minute …",
    tokens_told=(
        "{total} tokens of at most {cutoff}: {prompt} of the prompt, then {answer} of the answer, from token "
        "{first} on ({whose})."
    ),
    not_at_hand="The recording is not at hand: its source is not in the folders that the studio was started with.",
    ecg_of="ECG",
    epoch_of="Epoch",
    image_of="Image",
    no_datasets="No dataset has been written yet; write one under Build.",
    train_about="What the recipe linter says, the command to start with, and the loss of a running job from its log.",
    check="Check the recipe",
    checking="checking",
    train_command="Command that trains, to be run in a terminal",
    running_jobs="Jobs",
    run_info="folders of saves/ with a trainer_log.jsonl; drawn anew every few seconds",
    no_loss="The log has no loss yet.",
    no_runs_yet="No run has written a log yet.",
    no_data_yet="The recipe's dataset has not been written yet: the recipe and the registry alone were checked.",
    run_told="Step {step} of {total} ({percent} %), loss {loss}; {elapsed} so far, {remaining} to go.",
    loss_of="Loss over steps",
    recipe_ok="{dataset}: nothing is wrong.",
    lengths="Row length in tokens: median {median}, 95th percentile {p95}, longest {longest} of {cutoff}.",
    estimate="What it takes, estimated",
    figure="Figure",
    value="Value",
    rows_a_step="rows a step",
    steps_an_epoch="steps an epoch",
    tokens_an_epoch="tokens an epoch",
    memory="memory of a GPU, GiB",
    ask_about=(
        "One recording, image, note or question to a served model, in the words that it was tuned on. It is "
        "deleted when you press Forget, reload or close the page, or stop the studio."
    ),
    tuned_on="Dataset that the model was tuned on",
    tuned_on_info="its card says how a recording is told",
    tuned_with="Recipe that it was tuned with",
    tuned_with_info="its template has the system message",
    endpoint="Endpoint",
    endpoint_info="its address, of this machine",
    served_model="The endpoint's name of the model",
    served_model_info="the recipe's where it is empty",
    key="Key",
    key_info="that of OPENAI_API_KEY where it is empty; it is never kept",
    drop="File",
    drop_about="An ECG (.mat), a night or a part of it (.edf), a chest X-ray (.png, .jpg), or a text (.txt):",
    largest="at most {megabytes} MB",
    dropped="Dropped: {names}.",
    typed="Or write the note or the question here",
    epoch="Epoch",
    epoch_info="of a night: the first is 1",
    ask="Ask",
    forget="Forget",
    forgotten="Forgotten.",
    telling="the converter tells the recording",
    asking="the model answers",
    weighing="the model weighs the answers",
    probabilities="The model's probabilities",
    no_probabilities="There are no probabilities from this endpoint.",
    its_words="The model's words",
    read_as="Read as",
    unread="nothing could be read",
    results_about="Every judged run, its report, and two runs side by side.",
    first_run="First run",
    second_run="Second run",
    show_reports="Show the reports",
    compare="Compare",
    comparing="resampling",
    model="Model",
    split_rows="Split, rows",
    figures="Figures",
    intervals="Judged runs; 95 % intervals over groups",
    no_results="No run has been judged yet.",
    unreadable_run="its metrics.json cannot be read",
    report="Report of",
    no_report="{run} has no report.html.",
    side_by_side="Side by side; * is an interval without 0",
    difference="Second minus first",
    only_right="Rows that it alone has right",
    as_written="As the script writes it",
    axis_seconds="time (s)",
    axis_seconds_of_night="time of the recording (s)",
    axis_millivolts="mV",
    axis_microvolts="µV",
    axis_hertz="frequency (Hz)",
    axis_decibels="dB (µV²/Hz)",
    axis_beat="beat",
    axis_steps="step",
    axis_loss="loss (nats a token)",
    axis_train="training",
    axis_val="validation",
    outside="{path}: not in {folders}; choose a path there, or start the studio with --folder DIR",
    dots="{path}: expected a path without '..'",
    link="{path}: {part} is a symbolic link; start the studio with --folder and the folder that it leads to",
    no_source="no source is chosen: choose a folder or a file, or how many to make",
    no_name="the dataset's name: expected ASCII letters, digits, '-' and '_'",
    no_count="{what} {value}: expected a whole number from 1 on",
    not_offered="{value}: not one of {known}",
    exists="data/{name} is there already; choose another name, or tick '{box}'",
    no_such="{name}: there is none of that name; choose one of the list",
    no_such_row="{dataset}: has no row {number}",
    image_outside="{name}: not an image of this dataset; it lies outside its folder",
    not_an_address="the endpoint: expected an address such as http://127.0.0.1:8080/v1",
    another_machine=(
        "the endpoint: {host} is another machine; start the studio with --endpoint and this address to send it "
        "what is dropped here"
    ),
    bad_key="the key: expected printable ASCII characters alone",
    wrong_kind="{name}: a model of this task is asked with {endings}",
    one_file="drop one file alone",
    drop_again="the file has been deleted; drop it again",
    not_text="{name}: not UTF-8 text",
    nothing_asked="nothing is asked: drop a file of the task, or write a text",
    too_long="the text has {length} characters; at most {longest} are taken",
    no_epoch="epoch {place}: the recording has the epochs 1 to {count}",
    choose_run="no run is chosen",
    choose_two="choose two different runs",
    renderer_ended="the process that renders prompts ended; show the row again to start another one",
)

CHINESE = Words(
    language="zh",
    title="VitalFactory 工作室",
    not_a_device="本软件不是医疗器械。本页面的任何内容都不得用于指导对病人的诊疗。",
    other_language="/en/",
    other_language_name="English",
    tab_build="构建",
    tab_look="查看",
    tab_train="训练",
    tab_ask="提问",
    tab_results="结果",
    tasks={
        "ecg": "心电图：心房颤动",
        "eeg": "脑电图：睡眠分期",
        "clinical": "病历：诊断",
        "medqa": "医学问答",
        "cxr": "胸片：影像所见",
    },
    problem="未能完成。",
    unexpected="发生了未预料到的错误（{kind}）；用 --debug 启动工作室，可在终端看到详情",
    ended="脚本以退出码 {code} 结束；请在终端运行该命令查看原因",
    cancelled="已取消。没有留下写了一半的内容。",
    cancel="取消",
    starting="正在启动……",
    working="运行中",
    done="完成。",
    seconds="{seconds} 秒",
    command="运行的命令",
    commands="运行的命令",
    split="划分",
    rows="行",
    groups="组",
    labels="标签",
    dataset="数据集",
    recipe="训练配置",
    run="运行",
    synthetic="合成数据",
    stand_in="本机没有该配置自己的分词器，以内置模型的分词器计数。",
    build_about="由任务的转换脚本把数据源写成数据集并注册，供 LLaMA-Factory 训练。",
    task="任务",
    source="数据源",
    source_info="文件夹或文件，须在启动工作室时给出的文件夹之内",
    made="或者合成的数量",
    made_info="合成数据不能说明任何病人的情况；0 为不合成",
    label_file="标签",
    label_file_info="若病历本身不带诊断，在此选择诊断文件",
    form="表示方式",
    form_info="如何把记录讲给模型",
    rows_language="数据行的语言",
    recipe_info="每一行都必须符合其模板和长度上限",
    name="名称",
    name_info="数据集的名称，写入 data/",
    limit="最多",
    limit_info="条记录，按种子抽取；0 为全部",
    replace="替换同名数据集",
    trial="试 {count} 条记录",
    build="写入数据集",
    counts="已写入",
    reason="原因",
    left_out="未采用",
    nothing_left_out="没有未采用的内容。",
    built="{seconds} 秒；最长的一行有 {longest} 个词元，上限 {cutoff}（{whose}）。",
    look_about="数据集的每一行、它所依据的记录，以及模型训练时看到的确切提示词。",
    recipe_prompt="以其模板和分词器生成提示词",
    back="← 上一页",
    forward="下一页 →",
    page="页",
    page_of="第 {page} 页，共 {pages} 页，{rows} 行。",
    asked="提问内容",
    answered="答案",
    prompt="训练时的提示词；答案已标出",
    rendering="LLaMA-Factory 正在生成提示词；第一次最多需要一分钟……",
    tokens_told=(
        "共 {total} 个词元，上限 {cutoff}：提示词 {prompt} 个，答案 {answer} 个，从第 {first} 个开始（{whose}）。"
    ),
    not_at_hand="找不到原始记录：其数据源不在启动工作室时给出的文件夹之内。",
    ecg_of="心电图",
    epoch_of="睡眠帧",
    image_of="影像",
    no_datasets="尚未写入任何数据集；请先在“构建”中写入。",
    train_about="训练配置的检查结果、启动训练的命令，以及由日志得到的训练损失。",
    check="检查配置",
    checking="检查中",
    train_command="训练命令，请在终端运行",
    running_jobs="训练任务",
    run_info="saves/ 中带有 trainer_log.jsonl 的文件夹；每隔几秒重画",
    no_loss="日志中还没有损失。",
    no_runs_yet="还没有训练任务写入日志。",
    no_data_yet="该配置的数据集尚未写入：只检查了配置和注册表。",
    run_told="第 {step} 步，共 {total} 步（{percent} %），损失 {loss}；已用 {elapsed}，预计还需 {remaining}。",
    loss_of="损失随步数的变化",
    recipe_ok="{dataset}：没有发现问题。",
    lengths="每行的词元数：中位数 {median}，第 95 百分位 {p95}，最长 {longest}，上限 {cutoff}。",
    estimate="预计开销",
    figure="项目",
    value="数值",
    rows_a_step="每步行数",
    steps_an_epoch="每轮步数",
    tokens_an_epoch="每轮词元数",
    memory="单块显卡显存，GiB",
    ask_about=(
        "用模型微调时的说法，向已部署的模型提交一份记录、影像、病历或问题。"
        "按“清除”、刷新或关闭页面、停止工作室后即被删除。"
    ),
    tuned_on="微调该模型的数据集",
    tuned_on_info="其说明卡决定如何表述记录",
    tuned_with="微调时的训练配置",
    tuned_with_info="其模板含系统提示",
    endpoint="服务地址",
    endpoint_info="须为本机地址",
    served_model="服务端的模型名称",
    served_model_info="留空则用训练配置中的名称",
    key="密钥",
    key_info="留空则用 OPENAI_API_KEY；不会被保存",
    drop="文件",
    drop_about="心电图（.mat）、整夜或部分睡眠记录（.edf）、胸片（.png、.jpg）或文本（.txt）：",
    largest="最大 {megabytes} MB",
    dropped="已拖入：{names}。",
    typed="或在此输入病历或问题",
    epoch="睡眠帧",
    epoch_info="用于睡眠记录：第一帧为 1",
    ask="提问",
    forget="清除",
    forgotten="已清除。",
    telling="转换脚本正在表述记录",
    asking="模型正在回答",
    weighing="模型正在权衡各个答案",
    probabilities="模型给出的概率",
    no_probabilities="该服务没有给出概率。",
    its_words="模型的原话",
    read_as="读作",
    unread="无法读出答案",
    results_about="所有已评测的运行、它们的报告，以及两个运行的并排比较。",
    first_run="第一个运行",
    second_run="第二个运行",
    show_reports="显示报告",
    compare="比较",
    comparing="重抽样中",
    model="模型",
    split_rows="划分，行数",
    figures="指标",
    intervals="已评测的运行；95 % 区间按组计算",
    no_results="还没有已评测的运行。",
    unreadable_run="其 metrics.json 无法读取",
    report="报告：",
    no_report="{run} 没有 report.html。",
    side_by_side="并排比较；* 表示区间不含 0",
    difference="第二个减第一个",
    only_right="仅该运行答对的行数",
    as_written="脚本原文",
    axis_seconds="时间（秒）",
    axis_seconds_of_night="记录中的时间（秒）",
    axis_millivolts="毫伏",
    axis_microvolts="微伏",
    axis_hertz="频率（赫兹）",
    axis_decibels="分贝（微伏²/赫兹）",
    axis_beat="心搏",
    axis_steps="步",
    axis_loss="损失（奈特/词元）",
    axis_train="训练",
    axis_val="验证",
    outside="{path}：不在 {folders} 之内；请选择其中的路径，或用 --folder DIR 启动工作室",
    dots="{path}：路径中不得有“..”",
    link="{path}：{part} 是符号链接；请用 --folder 加上它指向的文件夹启动工作室",
    no_source="未选择数据源：请选择文件夹或文件，或填写合成数量",
    no_name="数据集名称：只能用英文字母、数字、“-”和“_”",
    no_count="{what} {value}：应为 1 以上的整数",
    not_offered="{value}：应为 {known} 之一",
    exists="data/{name} 已存在；请换一个名称，或勾选“{box}”",
    no_such="{name}：没有这个名称；请从列表中选择",
    no_such_row="{dataset}：没有第 {number} 行",
    image_outside="{name}：不是该数据集的影像；它在数据集文件夹之外",
    not_an_address="服务地址：应为类似 http://127.0.0.1:8080/v1 的地址",
    another_machine="服务地址：{host} 是另一台机器；若要把拖入的内容发送给它，请用 --endpoint 加上该地址启动工作室",
    bad_key="密钥：只能是可打印的 ASCII 字符",
    wrong_kind="{name}：该任务的模型接受 {endings}",
    one_file="请只拖入一个文件",
    drop_again="文件已被删除；请重新拖入",
    not_text="{name}：不是 UTF-8 文本",
    nothing_asked="没有提问内容：请拖入该任务的文件，或输入文本",
    too_long="文本有 {length} 个字符；最多 {longest} 个",
    no_epoch="第 {place} 帧：该记录有第 1 至 {count} 帧",
    choose_run="未选择运行",
    choose_two="请选择两个不同的运行",
    renderer_ended="生成提示词的进程已结束；再次显示该行即可重新启动",
)

LANGUAGES = {words.language: words for words in (ENGLISH, CHINESE)}


class Refusal(VitalFactoryError):
    """What the studio itself refuses, said in the language of the page.

    Parameters
    ----------
    key : str
        The field of :class:`Words` that says it.
    **values
        What stands for its ``{...}``.
    """

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(getattr(ENGLISH, key).format(**values))
        self.key, self.values = key, values

    def say(self, words: Words) -> str:
        """Say it."""
        return str(getattr(words, self.key).format(**self.values))
