"""Mandarin sentences written for this recipe: frames with slots, all of them free to use."""

from __future__ import annotations

import random
import re

__all__ = ["FRAMES", "SLOTS", "sentences"]

# fmt: off
SLOTS: dict[str, tuple[str, ...]] = {
    "when": (
        "今天早上", "昨天晚上", "明天下午", "上个星期",
        "每到周末", "去年夏天", "中午的时候", "放学以后",
    ),
    "who": (
        "我", "他们", "我的朋友", "王老师", "小李",
        "那位医生", "我妹妹", "隔壁的奶奶", "新来的同事",
    ),
    "where": (
        "公园里", "图书馆", "火车站", "河边", "学校门口",
        "办公室", "老城区", "山脚下", "厨房里",
    ),
    "thing": (
        "一本旧书", "两张车票", "一杯热茶", "一把雨伞",
        "新买的自行车", "半个西瓜", "一封长信", "三只小猫",
    ),
    "weather": ("下着小雨", "阳光很好", "刮起了大风", "雾特别浓", "雪下得很大", "有点儿闷热"),
    "do": ("散步", "画画", "练习唱歌", "等公共汽车", "做晚饭", "看日落", "讨论计划", "学习下棋"),
    "how": ("慢慢地", "高高兴兴地", "一声不响地", "认真地", "急急忙忙地", "轻轻地"),
    "feel": ("特别开心", "有些失望", "十分惊讶", "非常放心", "又累又饿", "一点儿也不害怕"),
    "number": ("三", "五", "八", "十二", "二十", "四十六", "一百零七"),
    "food": ("饺子", "面条", "豆腐汤", "苹果", "红烧鱼", "绿豆糕"),
}
FRAMES: tuple[str, ...] = (
    "{when}，{who}在{where}{do}。",
    "{who}{how}走进{where}，手里拿着{thing}。",
    "{when}{weather}，所以{who}没有去{where}。",
    "你知道{who}为什么在{where}{do}吗？",
    "{who}说，{when}的{food}只要{number}块钱。",
    "听到这个消息，{who}{feel}。",
    "请把{thing}放在{where}，谢谢！",
    "虽然外面{weather}，{who}还是{feel}。",
    "从这里到{where}，大约要走{number}分钟。",
    "{who}最喜欢吃{food}，其次是{food}。",
    "要是{when}{weather}，我们就在{where}见面。",
    "{who}找了{number}天，终于找到了{thing}。",
    "别着急，{who}会{how}告诉你的。",
    "真没想到，{who}竟然会{do}！",
    "{when}，{where}来了{number}个客人，{who}{feel}。",
    "{who}一边{do}，一边{how}唱着歌。",
    "我觉得{food}比{food}好吃得多。",
    "门牌是{number}号，就在{where}旁边。",
    "{who}从{where}带回来{thing}，大家都{feel}。",
    "等到{weather}的日子，{who}才有时间{do}。",
    "谁把{thing}忘在{where}了？",
    "这件事{who}想了{number}遍，还是没有答案。",
    "快来看，{where}有{thing}！",
    "医生让{who}多{do}，少吃{food}。",
    "如果没有{thing}，{who}就不能{do}了。",
    "{when}，{who}给我讲了一个很长的故事。",
    "这条路{who}走过{number}次，从来没有迷路。",
    "你是想喝汤，还是想吃{food}？",
    "{where}的灯还亮着，{who}应该没有睡。",
    "火车晚了{number}分钟，{who}只好{how}等着。",
)
# fmt: on


def sentences(count: int, rng: random.Random) -> list[str]:
    """Different sentences, frames in turn.

    Args:
        count: how many.
        rng: fills the slots.

    Returns:
        Sentences in simplified characters.

    Raises:
        ValueError: the frames do not give so many.
    """
    out: dict[str, None] = {}
    for number in range(50 * count):
        frame = FRAMES[number % len(FRAMES)]
        text = re.sub(r"\{(\w+)\}", lambda slot: rng.choice(SLOTS[slot.group(1)]), frame)
        out.setdefault(text)
        if len(out) == count:
            return list(out)
    raise ValueError(f"{count} different sentences are more than {len(FRAMES)} frames give")
