//! What small models become.

mod support;

use drupe_ir::{Dim, Module};
use drupe_onnx::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};
use drupe_onnx::{Options, import_bytes};
use prost::Message;
use support::{input, model, node, output, small_model, tensor, tensor_i64};

fn import(model: &ModelProto) -> Module {
    import_with(model, &Options::default())
}

fn import_with(model: &ModelProto, options: &Options) -> Module {
    match import_bytes("test.onnx", model.encode_to_vec(), None, options) {
        Ok(module) => module,
        Err(error) => panic!("{error}"),
    }
}

/// The printed module without origins and the contents of constants.
fn text(module: &Module) -> String {
    let bare = |line: &str| line.split(" at \"").next().unwrap_or(line).to_string();
    module.to_string().lines().filter(|line| !line.starts_with("const ")).map(bare).collect::<Vec<String>>().join("\n")
}

#[test]
fn convolution_and_reshape() {
    let module = import(&small_model());
    assert_eq!(
        text(&module),
        "dim x_0 in 1..=2147483648
func @test(%0: f32[x_0, 2, 4, 4] \"x\") {
  %1 = const @w : f32[3, 2, 3, 3]
  %2 = const @m : f32[12, 5]
  %3 = conv(%0, %1) stride=[2, 2] pad_low=[1, 1] pad_high=[1, 1] : f32[x_0, 3, 2, 2]
  %4 = const @b.1 : f32[3, 1, 1]
  %5 = add(%3, %4) : f32[x_0, 3, 2, 2]
  %6 = clamp(%5) min=0.0 : f32[x_0, 3, 2, 2]
  %7 = reshape(%6) shape=[x_0, 12] : f32[x_0, 12]
  %8 = matmul(%7, %2) : f32[x_0, 5]
  %9 = softmax(%8) axis=1 : f32[x_0, 5]
  return \"y\" %9
}"
    );
    assert!(module.to_string().contains("at \"Conv#0\" in \"test.onnx\""));
}

#[test]
fn shapes_from_the_user() {
    let options = Options {
        shapes: vec![("x".into(), vec![Dim::from(1), Dim::from(2), Dim::from(4), Dim::from(4)])],
        ..Options::default()
    };
    assert!(text(&import_with(&small_model(), &options)).contains("return \"y\""));
    let wrong = Options { shapes: vec![("z".into(), vec![])], ..Options::default() };
    let error = import_bytes("test.onnx", small_model().encode_to_vec(), None, &wrong).unwrap_err();
    assert_eq!(error.code, "option");
}

#[test]
fn batch_normalization_is_a_product_and_a_sum() {
    let mut model =
        model(vec![node("BatchNormalization", &["x", "g", "b", "m", "v"], &["y"])], &[input("x", &[1, 2, 3])], &["y"]);
    model.graph.as_mut().unwrap().initializer = vec![
        tensor("g", &[2], &[2.0, 4.0]),
        tensor("b", &[2], &[1.0, 0.0]),
        tensor("m", &[2], &[3.0, 1.0]),
        tensor("v", &[2], &[4.0 - 1e-5, 16.0 - 1e-5]),
    ];
    let module = import(&model);
    assert_eq!(module.constants["BatchNormalization#0.scale"].to_f32().unwrap(), [1.0, 1.0]);
    assert_eq!(module.constants["BatchNormalization#0.shift"].to_f32().unwrap(), [-2.0, -1.0]);
    assert!(text(&module).contains("mul(%0, %1) : f32[1, 2, 3]"));
}

#[test]
fn functions_are_inlined_with_their_attributes() {
    let mut leaky = node("LeakyRelu", &["a"], &["b"]);
    leaky.attribute =
        vec![AttributeProto { name: "alpha".into(), ref_attr_name: "slope".into(), ..Default::default() }];
    let function = FunctionProto {
        name: "Own".into(),
        domain: "own".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![leaky],
        ..Default::default()
    };
    let slope = AttributeProto { name: "slope".into(), f: Some(0.25), ..Default::default() };
    let call =
        NodeProto { domain: "own".into(), attribute: vec![slope], name: "call".into(), ..node("Own", &["x"], &["y"]) };
    let mut model = model(vec![call], &[input("x", &[3])], &["y"]);
    model.functions = vec![function];
    assert!(
        import(&model)
            .to_string()
            .contains("leaky_relu(%0) alpha=0.25 : f32[3] at \"call/LeakyRelu#0\" in \"test.onnx\"")
    );
}

#[test]
fn a_decidable_branch_is_taken() {
    let branch =
        |op: &str| GraphProto { node: vec![node(op, &["x"], &["r"])], output: vec![output("r")], ..Default::default() };
    let graph = |name: &str, op: &str| AttributeProto { name: name.into(), g: Some(branch(op)), ..Default::default() };
    let mut choice = node("If", &["c"], &["y"]);
    choice.attribute = vec![graph("then_branch", "Exp"), graph("else_branch", "Log")];
    let nodes =
        vec![node("Shape", &["x"], &["s"]), node("Size", &["s"], &["n"]), node("Equal", &["n", "two"], &["c"]), choice];
    let mut model = model(nodes, &[input("x", &[-1, 3])], &["y"]);
    model.graph.as_mut().unwrap().initializer = vec![tensor_i64("two", &[], &[2])];
    assert!(text(&import(&model)).contains("%1 = exp(%0) : f32[x_0, 3]"));
}

#[test]
fn sizes_from_shapes_are_expressions() {
    // Twice the extent, halved again, and a range of as many.
    let nodes = vec![
        node("Shape", &["x"], &["s"]),
        node("Mul", &["s", "two"], &["d"]),
        node("Squeeze", &["d"], &["n"]),
        node("Range", &["zero", "n", "one"], &["r"]),
        node("Expand", &["x1", "d"], &["e"]),
        node("Identity", &["x"], &["x0"]),
        node("Slice", &["x0", "one1", "far"], &["z"]),
    ];
    let mut model = model(nodes, &[input("x", &[-1]), input("x1", &[1])], &["r", "e", "z"]);
    model.graph.as_mut().unwrap().initializer = vec![
        tensor_i64("two", &[1], &[2]),
        tensor_i64("zero", &[], &[0]),
        tensor_i64("one", &[], &[1]),
        tensor_i64("one1", &[1], &[1]),
        tensor_i64("far", &[1], &[i64::MAX]),
    ];
    let printed = text(&import(&model));
    for expected in
        ["iota() axis=0 : i64[2*x_0]", "broadcast(%1) shape=[2*x_0] : f32[2*x_0]", "slice(%0) start=[1] size=[x_0 - 1]"]
    {
        assert!(printed.contains(expected), "{expected} in\n{printed}");
    }
}

#[test]
fn unknown_operators_are_named() {
    let model = model(vec![node("NoSuchOp", &["x"], &["y"])], &[input("x", &[3])], &["y"]);
    let error = import_bytes("test.onnx", model.encode_to_vec(), None, &Options::default()).unwrap_err();
    assert_eq!(error.code, "unsupported");
    assert_eq!(error.message, "NoSuchOp (ai.onnx, operator set 17): this operator is not supported");
    assert_eq!(error.origins[0].to_string(), "test.onnx node \"NoSuchOp#0\"");
}
