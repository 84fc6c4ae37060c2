//! Small models, built in place.

use drupe_onnx::proto::*;

/// A node without attributes.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let own = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    NodeProto { op_type: op.into(), input: own(inputs), output: own(outputs), ..Default::default() }
}

/// An f32 input; negative extents have no name.
pub fn input(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim = |extent: &i64| DimensionProto { dim_value: (*extent >= 0).then_some(*extent), dim_param: None };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor = TensorTypeProto { elem_type: 1, shape: Some(shape) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

/// An output.
pub fn output(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.into(), r#type: None }
}

/// An f32 constant.
pub fn tensor(name: &str, shape: &[i64], values: &[f32]) -> TensorProto {
    let (dims, float_data) = (shape.to_vec(), values.to_vec());
    TensorProto { name: name.into(), data_type: 1, dims, float_data, ..Default::default() }
}

/// An i64 constant.
pub fn tensor_i64(name: &str, shape: &[i64], values: &[i64]) -> TensorProto {
    let (dims, int64_data) = (shape.to_vec(), values.to_vec());
    TensorProto { name: name.into(), data_type: 7, dims, int64_data, ..Default::default() }
}

/// A model of operator set 17.
pub fn model(nodes: Vec<NodeProto>, inputs: &[ValueInfoProto], outputs: &[&str]) -> ModelProto {
    let output = outputs.iter().map(|name| output(name)).collect();
    let graph = GraphProto { node: nodes, input: inputs.to_vec(), output, ..Default::default() };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    ModelProto { ir_version: 8, opset_import, graph: Some(graph), functions: Vec::new() }
}

/// A convolution, shape arithmetic, a reshape, a product.
pub fn small_model() -> ModelProto {
    let ints =
        |name: &str, values: &[i64]| AttributeProto { name: name.into(), ints: values.to_vec(), ..Default::default() };
    let int = |name: &str, value: i64| AttributeProto { name: name.into(), i: Some(value), ..Default::default() };
    let mut conv = node("Conv", &["x", "w", "b"], &["c"]);
    conv.attribute = vec![ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])];
    let mut gather = node("Gather", &["s", "zero"], &["n"]);
    gather.attribute = vec![int("axis", 0)];
    let mut concat = node("Concat", &["n1", "rest"], &["target"]);
    concat.attribute = vec![int("axis", 0)];
    let nodes = vec![
        conv,
        node("Relu", &["c"], &["r"]),
        node("Shape", &["r"], &["s"]),
        gather,
        node("Unsqueeze", &["n", "zero"], &["n1"]),
        concat,
        node("Reshape", &["r", "target"], &["f"]),
        node("MatMul", &["f", "m"], &["p"]),
        node("Softmax", &["p"], &["y"]),
    ];
    let mut model = model(nodes, &[input("x", &[-1, 2, 4, 4])], &["y"]);
    model.graph.as_mut().unwrap().initializer = vec![
        tensor("w", &[3, 2, 3, 3], &[0.5; 54]),
        tensor("b", &[3], &[1.0, 2.0, 3.0]),
        tensor_i64("zero", &[1], &[0]),
        tensor_i64("rest", &[1], &[-1]),
        tensor("m", &[12, 5], &[0.25; 60]),
    ];
    // A scalar, so that the gathered extent has rank 0.
    model.graph.as_mut().unwrap().initializer[2].dims = Vec::new();
    let unsqueeze = &mut model.graph.as_mut().unwrap().node[4];
    unsqueeze.input[1] = "axes".into();
    model.graph.as_mut().unwrap().initializer.push(tensor_i64("axes", &[1], &[0]));
    model
}
