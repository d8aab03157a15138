"""Extra stories join the training stories and nothing else."""

from spmn.data import Source


def keys(source: Source) -> tuple[set[str], set[str]]:
    training, validation = ({story.key for story in part} for part in source.split())
    return training, validation


def test_extra_stories_are_for_training_alone() -> None:
    # task 4 has so few stories that extra ones would meet validation stories
    alone, topped = Source((1, 4), questions=1500), Source((1, 4), questions=1500, extra=2000)
    (training, validation), (more, same) = keys(alone), keys(topped)
    assert same == validation
    assert training < more
    assert not more & validation
    tested = {story.key for story in topped.test(200)}
    assert not tested & (more | validation)
