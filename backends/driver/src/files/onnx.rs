//! Names of tensors in an ONNX file: what other engines' dumps are keyed by.

use drupe_ir::Diagnostic;
use drupe_onnx::proto::ModelProto;
use indexmap::IndexMap;
use prost::Message;
use std::path::Path;

/// For every node of the main graph with one output, as origins name the node, the output's name.
pub(crate) fn tensor_names(path: &Path) -> Result<IndexMap<String, String>, Diagnostic> {
    let model = ModelProto::decode(super::read(path)?.as_slice())
        .map_err(|error| Diagnostic::new("parse", format!("{}: {error}", path.display())))?;
    let mut names = IndexMap::new();
    for (index, node) in model.graph.iter().flat_map(|graph| graph.node.iter().enumerate()) {
        let label = if node.name.is_empty() { format!("{}#{index}", node.op_type) } else { node.name.clone() };
        if let [output] = node.output.as_slice() {
            names.insert(label, output.clone());
        }
    }
    Ok(names)
}
