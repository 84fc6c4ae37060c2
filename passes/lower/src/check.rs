//! What cannot be lowered, said in the model's terms.

use drupe_ir::{Diagnostic, Module, Node, Op, ValueId};

/// Octets that no value has: more than any machine addresses.
const MOST_BYTES: i64 = 1 << 47;

/// The first value that has no place in memory or in registers: of elements smaller than an octet, or absurdly large.
pub fn check(module: &Module) -> Result<(), Diagnostic> {
    let graph = &module.graph;
    let live = graph.live();
    for value in graph.values().filter(|value| live[value.index()]) {
        let node = graph.node(value);
        let fault = |code, what: String, help: &str| {
            let error = Diagnostic::new(code, format!("{} is {}: {what}", called(module, value), node.ty)).help(help);
            // Constants and inputs come from no node: who reads them does.
            let readers = graph.nodes.iter().filter(|reader| reader.operands.contains(&value));
            let origin = std::iter::once(node).chain(readers).map(|node| &node.origin).find(|at| !at.is_unknown());
            Err(origin.map_or(error.clone(), |origin| error.at(origin)))
        };
        if node.ty.dtype.bits() < 8 && !is_only_weight(module, value) {
            let what = format!("elements of {} bits cannot be computed with yet", node.ty.dtype.bits());
            return fault(
                "unsupported",
                what,
                "let the model have i8 or u8 there; of 4 bits may be constants that are only cast, or weights of \
                 quantized_linear",
            );
        }
        // Sizes saturate.
        if node.ty.bytes().as_const().is_some_and(|bytes| bytes >= MOST_BYTES) {
            return fault(
                "memory",
                "no machine has so much memory".into(),
                "check the shapes of the inputs: `--shape`",
            );
        }
    }
    Ok(())
}

/// Whether `value` is a constant that is read as a quantized matrix only.
fn is_only_weight(module: &Module, value: ValueId) -> bool {
    let graph = &module.graph;
    let reads_as_weight = |reader: &Node| {
        let mut positions = (0..reader.operands.len()).filter(|operand| reader.operands[*operand] == value);
        positions.all(|operand| reader.op.quantized_operands().is_some_and(|at| at.weight == operand))
    };
    let output = graph.outputs.values().any(|output| *output == value);
    matches!(graph.node(value).op, Op::Const(_)) && !output && graph.nodes.iter().all(reads_as_weight)
}

fn called(module: &Module, value: ValueId) -> String {
    match &module.graph.node(value).op {
        Op::Input(input) => format!("the input {:?}", input.name),
        Op::Const(constant) => format!("the constant @{}", constant.name),
        op => format!("the result of {}", op.name()),
    }
}
