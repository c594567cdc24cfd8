import numpy as np
import pytest

from explore.data.skeleton import BLAZEPOSE33, COCO17, COCO19, H36M17, H36M18, MPII16, MUCO21, drawn_edges, mapping


@pytest.mark.parametrize("skeleton", [H36M17, H36M18], ids=lambda s: s.name)
def test_skeletons_are_trees_and_flipping_is_an_involution(skeleton):
    assert len(set(skeleton.names)) == len(skeleton)
    assert [parent for parent in skeleton.parents if parent < 0] == [-1]
    assert skeleton.parents[skeleton.root] == -1
    for joint in range(len(skeleton)):
        steps = 0
        while joint != skeleton.root:
            joint, steps = skeleton.parents[joint], steps + 1
            assert steps < len(skeleton)
    order = skeleton.flip_order
    assert (order[order] == np.arange(len(skeleton))).all()
    for right, left in skeleton.flip_pairs:
        assert skeleton.names[right][2:] == skeleton.names[left][2:]
        assert skeleton.names[right][:2] + skeleton.names[left][:2] == "R_L_"
    assert len(skeleton.flip_pairs) == 6


def test_joint_order_equals_the_reference_readers():
    assert H36M18.names == (
        "Pelvis", "R_Hip", "R_Knee", "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "Torso", "Neck", "Nose", "Head",
        "L_Shoulder", "L_Elbow", "L_Wrist", "R_Shoulder", "R_Elbow", "R_Wrist", "Thorax",
    )  # fmt: skip


def test_thorax_is_not_scored():
    assert len(H36M18) == 18
    assert [H36M18.names[joint] for joint in H36M18.scored] == list(H36M17.names)


def test_mapping_is_by_name():
    assert mapping(H36M18, H36M17).tolist() == list(range(17))
    assert mapping(H36M17, H36M18).tolist() == [*range(17), -1]


@pytest.mark.parametrize("skeleton", [BLAZEPOSE33, COCO17], ids=lambda s: s.name)
def test_the_trunk_is_closed_in_drawings_where_no_joint_connects_its_sides(skeleton):
    lines = drawn_edges(skeleton.names, skeleton.edges)
    added = [(skeleton.names[a], skeleton.names[b]) for a, b in lines[len(skeleton.edges) :]]
    assert lines[: len(skeleton.edges)] == skeleton.edges
    assert added == [("R_Shoulder", "L_Shoulder"), ("R_Hip", "L_Hip")]


@pytest.mark.parametrize("skeleton", [H36M17, H36M18, COCO19, MPII16, MUCO21], ids=lambda s: s.name)
def test_drawings_of_other_skeletons_have_the_bones_only(skeleton):
    assert drawn_edges(skeleton.names, skeleton.edges) == skeleton.edges
