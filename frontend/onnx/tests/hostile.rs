//! Damaged and hostile files: an error, never a panic, never memory out of proportion.

mod support;

use drupe_onnx::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto};
use drupe_onnx::{Options, import_bytes};
use prost::Message;
use support::{input, model, node, output, small_model, tensor, tensor_i64};

/// The error's code, for a model that must not import.
fn refused(model: &ModelProto) -> &'static str {
    match import_bytes("hostile.onnx", model.encode_to_vec(), None, &Options::default()) {
        Ok(module) => panic!("imported:\n{module}"),
        Err(error) => error.code,
    }
}

#[test]
fn truncations_and_flips_never_panic() {
    let bytes = small_model().encode_to_vec();
    for end in 0..bytes.len() {
        let _ = import_bytes("cut.onnx", bytes[..end].to_vec(), None, &Options::default());
    }
    // A fixed generator, so that a failure can be seen again.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..=random(4) {
            let at = random(damaged.len());
            damaged[at] = match random(3) {
                0 => damaged[at] ^ (1 << random(8)),
                1 => random(256) as u8,
                _ => 0xff,
            };
        }
        let _ = import_bytes("flipped.onnx", damaged, None, &Options::default());
    }
}

#[test]
fn cycles_missing_and_duplicate_names_are_refused() {
    let cycle = vec![node("Add", &["x", "b"], &["a"]), node("Relu", &["a"], &["b"])];
    assert_eq!(refused(&model(cycle, &[input("x", &[2])], &["b"])), "parse");
    assert_eq!(refused(&model(vec![node("Relu", &["nowhere"], &["y"])], &[], &["y"])), "parse");
    assert_eq!(refused(&model(vec![node("Relu", &["x"], &["x"])], &[input("x", &[2])], &["x"])), "parse");
    assert_eq!(refused(&model(vec![], &[input("x", &[2]), input("x", &[2])], &["x"])), "parse");
    assert_eq!(refused(&model(vec![], &[input("x", &[2])], &["x", "x"])), "parse");
    assert_eq!(refused(&model(vec![], &[input("x", &[2])], &["y"])), "parse");
}

#[test]
fn absurd_sizes_are_refused() {
    let huge = i64::MAX / 2;
    assert_eq!(refused(&model(vec![], &[input("x", &[huge, huge])], &["x"])), "shape");
    let mut sized = model(vec![node("ConstantOfShape", &["shape"], &["y"])], &[], &["y"]);
    sized.graph.as_mut().unwrap().initializer.push(tensor_i64("shape", &[2], &[1 << 40, 1 << 40]));
    assert_eq!(refused(&sized), "parse");
    let mut empty = model(vec![node("Relu", &["w"], &["y"])], &[], &["y"]);
    empty.graph.as_mut().unwrap().initializer.push(TensorProto { dims: vec![huge, 2], ..tensor("w", &[1], &[1.0]) });
    assert_eq!(refused(&empty), "parse");
}

#[test]
fn attributes_out_of_range_are_refused() {
    let int = |name: &str, value: i64| AttributeProto { name: name.into(), i: Some(value), ..Default::default() };
    let ints =
        |name: &str, values: &[i64]| AttributeProto { name: name.into(), ints: values.to_vec(), ..Default::default() };
    for value in [i64::MIN, -7, 9, i64::MAX] {
        for (op, name) in [("Softmax", "axis"), ("Flatten", "axis"), ("LogSoftmax", "axis"), ("ArgMax", "axis")] {
            let mut broken = node(op, &["x"], &["y"]);
            broken.attribute.push(int(name, value));
            refused(&model(vec![broken], &[input("x", &[2, 3])], &["y"]));
        }
        let lists =
            [("MaxPool", "kernel_shape"), ("MaxPool", "strides"), ("AveragePool", "pads"), ("MaxPool", "dilations")];
        for (op, name) in lists {
            let mut broken = node(op, &["x"], &["y"]);
            if name != "kernel_shape" {
                broken.attribute.push(ints("kernel_shape", &[2, 2]));
            }
            broken.attribute.push(ints(name, &[value, value, value]));
            refused(&model(vec![broken], &[input("x", &[1, 1, 4, 4])], &["y"]));
        }
    }
}

#[test]
fn recursion_is_refused() {
    let call = |name: &str| NodeProto { domain: "own".into(), ..node(name, &["x"], &["y"]) };
    let function = |name: &str, body: Vec<NodeProto>| FunctionProto {
        name: name.into(),
        domain: "own".into(),
        input: vec!["x".into()],
        output: vec!["y".into()],
        node: body,
        ..Default::default()
    };
    let mut endless = model(vec![call("f")], &[input("x", &[2])], &["y"]);
    endless.functions = vec![function("f", vec![call("f")])];
    assert_eq!(refused(&endless), "parse");

    // Every function calls the next one twice: 2^20 nodes from 20 functions.
    let twice = |next: String| {
        let first = NodeProto { output: vec!["z".into()], ..call(&next) };
        vec![first, NodeProto { input: vec!["z".into()], ..call(&next) }]
    };
    let mut growing = model(vec![call("f0")], &[input("x", &[2])], &["y"]);
    growing.functions = (0..20).map(|n| function(&format!("f{n}"), twice(format!("f{}", n + 1)))).collect();
    growing.functions.push(function("f20", vec![node("Relu", &["x"], &["y"])]));
    assert_eq!(refused(&growing), "parse");

    let mut inner = GraphProto { output: vec![output("x")], ..Default::default() };
    for _ in 0..60 {
        let mut branch = node("If", &["c"], &["x"]);
        for name in ["then_branch", "else_branch"] {
            branch.attribute.push(AttributeProto { name: name.into(), g: Some(inner.clone()), ..Default::default() });
        }
        inner = GraphProto { node: vec![branch], output: vec![output("x")], ..Default::default() };
        if inner.encoded_len() > 1 << 20 {
            break;
        }
    }
    let deep = ModelProto { graph: Some(inner), ..model(vec![], &[], &[]) };
    refused(&deep);
}

#[test]
fn expressions_do_not_grow_without_end() {
    // x has extent N; every step multiplies the size by itself.
    let mut nodes = vec![node("Shape", &["x"], &["s0"])];
    for step in 0..40 {
        nodes.push(node("Add", &[&format!("s{step}"), "one"], &[&format!("t{step}")]));
        nodes.push(node("Mul", &[&format!("t{step}"), &format!("t{step}")], &[&format!("s{}", step + 1)]));
    }
    nodes.push(node("ConstantOfShape", &["s40"], &["y"]));
    let mut growing = model(nodes, &[input("x", &[-1])], &["y"]);
    growing.graph.as_mut().unwrap().initializer.push(tensor_i64("one", &[1], &[1]));
    refused(&growing);
}

#[test]
fn external_data_stays_in_the_folder() {
    let folder = std::env::temp_dir().join(format!("drupe-onnx-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("weights.bin"), 7.0f32.to_le_bytes()).unwrap();
    let entry =
        |key: &str, value: &str| drupe_onnx::proto::StringStringEntryProto { key: key.into(), value: value.into() };
    let with = |entries: Vec<_>| {
        let weight =
            TensorProto { data_location: 1, external_data: entries, float_data: vec![], ..tensor("w", &[1], &[]) };
        let mut model = model(vec![node("Add", &["x", "w"], &["y"])], &[input("x", &[1])], &["y"]);
        model.graph.as_mut().unwrap().initializer.push(weight);
        import_bytes("external.onnx", model.encode_to_vec(), Some(&folder), &Options::default())
    };
    let good = with(vec![entry("location", "weights.bin"), entry("offset", "0"), entry("length", "4")]).unwrap();
    assert_eq!(good.constants["w"].to_f32().unwrap(), [7.0]);
    for location in ["../weights.bin", "/etc/passwd", "", "a/../../weights.bin", "missing.bin", "."] {
        assert_eq!(with(vec![entry("location", location)]).unwrap_err().code, "parse", "{location}");
    }
    for (offset, length) in [("1", "4"), ("0", "5"), ("18446744073709551615", "4"), ("x", "4"), ("-1", "4")] {
        let entries = vec![entry("location", "weights.bin"), entry("offset", offset), entry("length", length)];
        assert_eq!(with(entries).unwrap_err().code, "parse", "{offset} {length}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
