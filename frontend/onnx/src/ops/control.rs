//! Branches.

use crate::importer::Value;
use crate::node::{Node, Result};
use crate::proto::GraphProto;
use drupe_ir::DType;

/// `If`: the branch taken where that is known, else both and a choice between their results.
pub fn branch(node: &mut Node) -> Result<Vec<Value>> {
    let condition = node.input(0)?;
    let (yes, no) = (node.graph("then_branch")?, node.graph("else_branch")?);
    match node.scalar_of(0)? {
        Some(0.0) => return import(node, no),
        Some(_) => return import(node, yes),
        None => {}
    }
    if node.dtype(condition) != DType::Bool || !node.ty(condition).elements().is(1) {
        return Err(node.invalid("a condition that is not one bool"));
    }
    let undecided = "its condition depends on data, so that both branches are computed";
    let condition = node.reshape(condition, Vec::new())?;
    let (yes, no) = (import(node, yes)?, import(node, no)?);
    if yes.len() != no.len() {
        return Err(node.invalid("branches with different numbers of outputs"));
    }
    let mut results = Vec::new();
    for pair in yes.into_iter().zip(no) {
        results.push(match pair {
            (Value::Tensor(yes, _), Value::Tensor(no, _)) => {
                let (one, other) = (node.ty(yes), node.ty(no));
                if one != other {
                    let message = format!("{undecided}, but they give {one} and {other}");
                    return Err(node.unsupported(message).help("`--input name=value` can settle the condition"));
                }
                node.choose(condition, yes, no)?.into()
            }
            (Value::Unavailable(why), _) | (_, Value::Unavailable(why)) => Value::Unavailable(why),
        });
    }
    Ok(results)
}

fn import(node: &mut Node, graph: &GraphProto) -> Result<Vec<Value>> {
    let mut scope = node.scope.inner();
    node.importer.nested(|importer| importer.graph(graph, &mut scope))
}
