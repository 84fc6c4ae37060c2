//! What rewriting has to make of the models: what is left of branches and of transposes.

use drupe_ir::{Module, Node, Op};

/// How many nodes of the kinds that matter a module has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Convolutions, depthwise ones included.
    pub convolutions: usize,
    /// Convolutions in which each channel is a group.
    pub depthwise: usize,
    /// Products of matrices.
    pub products: usize,
    /// Transposes.
    pub transposes: usize,
}

/// A network whose branches become one: nodes after rewriting.
struct SingleBranch {
    model: &'static str,
    convolutions: usize,
    depthwise: usize,
    products: usize,
}

/// Both models are exported in training form, 191 and 126 convolutions. The numbers are those of the `Conv` nodes
/// (with a group a channel) and `Gemm` nodes that timm 1.0.31 exports after its own
/// `timm.utils.reparameterize_model`. For mobileone_s0 that is the stem, and a depthwise and a pointwise
/// convolution in each of 2 + 8 + 10 + 1 blocks (table 2 of MobileOne, arXiv:2206.04040).
const SINGLE_BRANCH: &[SingleBranch] = &[
    SingleBranch { model: "mobileone_s0", convolutions: 43, depthwise: 21, products: 1 },
    SingleBranch { model: "repvit_m1_0", convolutions: 103, depthwise: 26, products: 1 },
];

/// Images come with channels first and are computed with channels last.
const IMAGE: usize = 1;
/// Queries, keys and values by heads, and the heads' results side by side.
const ATTENTION: usize = 4;
/// Pixels to patches, and back.
const PATCHES: usize = 2;

/// The sides of boxes are a convolution over an image of sides by boxes (YOLOv8's distribution focal loss): the two
/// change places before it, and once for each corner after it. Boxes come out with their numbers first.
const DETECTIONS: usize = 4;

/// A transposed convolution whose stride is its kernel is a matrix product whose blocks move side by side.
const BLOCKS: usize = 1;

/// The most transposes that are left in a model; every other model is a network of convolutions on an image.
const TRANSPOSES: &[(&str, usize)] = &[
    ("basic_pitch", 0),
    ("efficientformer_l1", IMAGE + ATTENTION),
    ("magika", 0),
    ("minilm_l6", 6 * ATTENTION),
    ("mobilevitv2_050", IMAGE + 3 * PATCHES),
    ("nudenet", IMAGE + DETECTIONS),
    ("ppocr4_det", IMAGE + 2 * BLOCKS),
    ("ppocr4_rec", IMAGE + 2 * ATTENTION),
    ("ppocr6_det", IMAGE + 2 * BLOCKS),
    ("ppocr6_rec", IMAGE + 2 * ATTENTION),
    ("silero_vad", 0),
    ("silero_vad_sequence", 0),
];

/// Counts the nodes of `module`.
pub fn structure(module: &Module) -> Structure {
    let count = |is: &dyn Fn(&Node) -> bool| module.graph.nodes.iter().filter(|node| is(node)).count();
    // A weight is [out channels, in channels / groups, kernel...].
    let depthwise = |node: &Node| match &node.op {
        Op::Conv(conv) => conv.groups > 1 && module.graph.ty(node.operands[1]).shape[1].is(1),
        _ => false,
    };
    Structure {
        convolutions: count(&|node| matches!(node.op, Op::Conv(_))),
        depthwise: count(&depthwise),
        products: count(&|node| matches!(node.op, Op::MatMul(_))),
        transposes: count(&|node| matches!(node.op, Op::Transpose(_))),
    }
}

/// What the structure of `model`, rewritten to `module`, is in words; or what is wrong with it.
pub fn check(model: &str, module: &Module) -> Result<String, String> {
    let found = structure(module);
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut words = plural(found.transposes, "transpose");
    if let Some(wanted) = SINGLE_BRANCH.iter().find(|row| row.model == model) {
        let counts = (found.convolutions, found.depthwise, found.products);
        if counts != (wanted.convolutions, wanted.depthwise, wanted.products) {
            return Err(format!(
                "{} convolutions, {} depthwise, and {} matrix products are left; the network of one branch has {}, {} \
                 and {}",
                counts.0, counts.1, counts.2, wanted.convolutions, wanted.depthwise, wanted.products
            ));
        }
        words = format!("{}, {words}", plural(found.convolutions, "convolution"));
    }
    let most = TRANSPOSES.iter().find(|(name, _)| *name == model).map_or(IMAGE, |(_, most)| *most);
    if found.transposes > most {
        let left: Vec<String> = (module.graph.nodes.iter())
            .filter(|node| matches!(node.op, Op::Transpose(_)))
            .map(|node| format!("\n  to {} at {}", node.ty, node.origin))
            .collect();
        return Err(format!("{} left, at most {most} expected:{}", words, left.concat()));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = "func @tiny(%0: f32[1, 4, 4, 2] \"x\") {
  %1 = const @w : f32[2, 1, 3, 3]
  %2 = conv(%0, %1) groups=2 layout=channels_last : f32[1, 2, 2, 2]
  %3 = transpose(%2) perm=[0, 3, 1, 2] : f32[1, 2, 2, 2]
  return \"y\" %3
}";

    #[test]
    fn nodes_are_counted() {
        let module = drupe_ir::parse_text(MODULE, "tiny").unwrap().module;
        let wanted = Structure { convolutions: 1, depthwise: 1, products: 0, transposes: 1 };
        assert_eq!(structure(&module), wanted);
        assert_eq!(check("squeezenet1_1", &module).unwrap(), "1 transpose");
        assert!(
            check("magika", &module).unwrap_err().starts_with("1 transpose left, at most 0 expected:\n  to f32[1, 2")
        );
        assert!(check("mobileone_s0", &module).unwrap_err().starts_with("1 convolutions, 1 depthwise, and 0 matrix"));
    }
}
