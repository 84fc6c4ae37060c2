//! x
use crate::importer::Value;
use crate::node::{Node, Result};
use drupe_ir::ValueId;
pub fn evaluate(node: &mut Node) -> Result<Option<Vec<Value>>> {
    if node.op_type() == "Identity" {
        return Ok(Some(vec![node.value(0).cloned().unwrap()]));
    }
    if node.op_type() == "Constant" {
        let t = node.tensor("value").unwrap();
        let d = node.importer.read(t)?;
        let n = node.output_name(0);
        return Ok(Some(vec![node.importer.constant(n, d)]));
    }
    if node.op_type() == "Concat" {
        let i = node.all_inputs()?;
        let a = node.int("axis", 0);
        let id: ValueId = node.concat(&i, a as usize)?;
        return Ok(Some(vec![id.into()]));
    }
    Ok(None)
}
