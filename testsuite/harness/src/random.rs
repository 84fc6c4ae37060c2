//! Valid modules out of a seed.

use crate::Run;
use drupe_ir::{AttrValue, DType, Dim, Module, Op, Origin, SymbolRange, TensorData, Type, ValueId, ops};
use indexmap::IndexMap;
use std::sync::Arc;

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// A number from `low` to `high`, both included; `low` if `high` is less.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }

    /// One of `items`, which are not none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// What a random module may have.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many operators at most, beside inputs and constants.
    pub nodes: usize,
    /// Whether shapes may have symbols.
    pub symbols: bool,
    /// The element types of inputs and casts.
    pub dtypes: Vec<DType>,
}

impl Default for Options {
    fn default() -> Options {
        Options { nodes: 12, symbols: true, dtypes: vec![DType::F32, DType::F32, DType::F32, DType::I32, DType::I64] }
    }
}

/// A verified module with up to three inputs, small shapes, any operators; every value that no other reads is
/// an output.
pub fn random_module(seed: u64, options: &Options) -> Module {
    let mut random = Random::new(seed);
    let mut module = Module::new(&format!("random-{seed}"));
    let batch = Dim::symbol("B");
    if options.symbols {
        module.symbols.insert("B".into(), SymbolRange { min: 1, max: 4 });
    }
    for input in 0..random.between(1, 3) {
        let rank = random.below(5);
        let mut shape: Vec<Dim> = (0..rank).map(|_| Dim::from(random.between(1, 5))).collect();
        if options.symbols && random.below(2) == 0 && rank > 0 {
            shape[0] = if random.below(3) == 0 { &Dim::from(2) * &batch } else { batch.clone() };
        }
        let dtype = *random.pick(&options.dtypes);
        module.input(&format!("input {input}"), Type::new(dtype, shape)).expect("an input has a type");
    }
    for _ in 0..options.nodes * 4 {
        if module.graph.nodes.len() >= options.nodes + 3 {
            break;
        }
        add_random(&mut module, &mut random, options);
    }
    let users = module.graph.users();
    for value in module.graph.values().filter(|value| users[value.index()].is_empty()) {
        module.output(&format!("output {}", value.0), value);
    }
    module.verify().expect("a random module is valid");
    module
}

/// Tries to add one operator on values there are.
fn add_random(module: &mut Module, random: &mut Random, options: &Options) {
    let (name, _) = *random.pick(Op::DOCS);
    let values: Vec<ValueId> = module.graph.values().collect();
    let first = *random.pick(&values);
    let ty = module.graph.ty(first).clone();
    if name == "const" {
        let shape = (0..random.below(3)).map(|_| random.between(1, 4) as usize).collect();
        let dtype = *random.pick(&options.dtypes);
        let data = TensorData::random(dtype, shape, random.bits()).expect("a small constant");
        module.constant(&format!("constant {}", random.below(100)), data);
        return;
    }
    if matches!(name, "quantized_linear" | "weight_quantized_linear" | "quantized_gather" | "dequantize_matrix") {
        return add_quantized(module, random, name, first);
    }
    if name == "dequantize" {
        return add_dequantized(module, random, &ty);
    }
    let Some(attrs) = attributes(name, &ty, random, options) else { return };
    let Ok(op) = Op::parse(name, &attrs) else { return };
    let count = op.operands().len() + usize::from(op.operands().last().is_some_and(|last| last.variadic));
    let mut operands = vec![first; count.min(1)];
    while operands.len() < count {
        // Another value of the same type, or any.
        let alike: Vec<ValueId> = values.iter().copied().filter(|other| *module.graph.ty(*other) == ty).collect();
        operands.push(if random.below(3) > 0 { *random.pick(&alike) } else { *random.pick(&values) });
    }
    if matches!(op, Op::MatMul(_)) {
        // A square product, or one with a transposed operand, whatever there is.
        operands[1] = *random.pick(&values);
    }
    let pass = [None, Some("made-up"), Some("another-pass")][random.below(3)];
    let node = (random.below(2) == 0).then(|| format!("node \"{}\"", random.below(9)).into());
    let file = (random.below(3) == 0).then(|| "a file.onnx".into());
    let large = |ty: &Type| ty.elements().eval(&|_| Some(4)).map_or(true, |count| !(0..=4096).contains(&count));
    if let Ok(value) = module.add(op, &operands, &Origin { file, node, pass })
        && large(module.graph.ty(value))
    {
        module.graph.nodes.pop();
    }
}

/// Tries to add a product of rows of `x` and random quantized weights, or rows of these, or these as numbers.
fn add_quantized(module: &mut Module, random: &mut Random, name: &str, x: ValueId) {
    let Some(depth) = module.graph.ty(x).shape.last().and_then(Dim::as_const).filter(|depth| *depth > 0) else {
        return;
    };
    let last = module.graph.ty(x).rank() as i64 - 1;
    let before = module.graph.nodes.len();
    let origin = Origin::default();
    let divisors: Vec<i64> = (1..=depth).filter(|groups| depth % groups == 0).collect();
    let (columns, groups) = (random.between(1, 40), *random.pick(&divisors));
    let dtype = *random.pick(&[DType::I8, DType::U8, DType::I4, DType::U4]);
    let scale_dtype = *random.pick(&[DType::F32, DType::F16]);
    let mut constant = |dtype: DType, extent: i64, random: &mut Random| {
        let data = TensorData::random(dtype, vec![columns as usize, extent as usize], random.bits()).ok()?;
        Some(module.constant(&format!("weight {}", random.bits()), data))
    };
    let Some(weight) = constant(dtype, depth, random) else { return };
    let mut scales = Vec::new();
    for _ in 0..random.between(1, 2) {
        scales.extend(constant(scale_dtype, groups, random));
    }
    let mut add = |op: Op, operands: &[ValueId]| module.add(op, operands, &origin).ok();
    let product = (|| {
        if name == "dequantize_matrix" {
            return add(ops::DequantizeMatrix {}.into(), &[&[weight], scales.as_slice()].concat());
        }
        if name == "quantized_gather" {
            let indices = add(ops::Cast { dtype: DType::I32 }.into(), &[x])?;
            return add(ops::QuantizedGather {}.into(), &[&[weight, indices], scales.as_slice()].concat());
        }
        if name == "weight_quantized_linear" {
            let floats = add(ops::Cast { dtype: DType::F32 }.into(), &[x])?;
            let f4 = dtype == DType::U4;
            return add(ops::WeightQuantizedLinear { f4 }.into(), &[&[floats, weight], scales.as_slice()].concat());
        }
        let integers = add(ops::Cast { dtype: DType::I8 }.into(), &[x])?;
        let floats = add(ops::Cast { dtype: DType::F32 }.into(), &[integers])?;
        let scale = add(ops::ReduceMax { axes: vec![last] }.into(), &[floats])?;
        add(ops::QuantizedLinear {}.into(), &[&[integers, scale, weight], scales.as_slice()].concat())
    })();
    if product.is_none() {
        module.graph.nodes.truncate(before);
    }
}

/// Adds integers of 8 or 4 bits with scales, as many as `like` has where that is known.
fn add_dequantized(module: &mut Module, random: &mut Random, like: &Type) {
    let extent = |dim: &Dim| dim.as_const().filter(|extent| (1..=8).contains(extent)).unwrap_or(1) as usize;
    let mut shape: Vec<usize> = like.shape.iter().map(extent).collect();
    if shape.is_empty() {
        return;
    }
    let axis = random.below(shape.len());
    let dtype = *random.pick(&[DType::I8, DType::U8]);
    let scale_dtype = *random.pick(&[DType::F32, DType::F16]);
    let mut constant = |dtype: DType, shape: &[usize], random: &mut Random| {
        let data = TensorData::random(dtype, shape.to_vec(), random.bits()).ok()?;
        Some(module.constant(&format!("integers {}", random.bits()), data))
    };
    let integers = constant(dtype, &shape, random);
    let divisors: Vec<usize> = (1..=shape[axis]).filter(|groups| shape[axis].is_multiple_of(*groups)).collect();
    shape[axis] = *random.pick(&divisors);
    let scales = constant(scale_dtype, &shape, random);
    if let (Some(integers), Some(scales)) = (integers, scales) {
        let op = ops::Dequantize { axis: axis as i64 };
        module.add(op.into(), &[integers, scales], &Origin::default()).expect("operands that fit");
    }
}

/// Attributes that `name` may have on an operand of type `ty`; `None` where there are none.
fn attributes(name: &str, ty: &Type, random: &mut Random, options: &Options) -> Option<Vec<(String, AttrValue)>> {
    let rank = ty.rank();
    let int = |value: i64| AttrValue::Dim(Dim::from(value));
    let ints = |values: Vec<i64>| AttrValue::List(values.into_iter().map(int).collect());
    let dims = |values: Vec<Dim>| AttrValue::List(values.into_iter().map(AttrValue::Dim).collect());
    let word = |word: &str| AttrValue::Word(word.into());
    let mut attrs: Vec<(&str, AttrValue)> = Vec::new();
    let axis = if rank > 0 { Some(random.below(rank)) } else { None };
    match name {
        "input" | "const" => return None,
        "splat" | "iota" => {
            attrs.push(("shape", dims(ty.shape.clone())));
            attrs.push(("dtype", word(random.pick(&options.dtypes).name())));
            if name == "splat" {
                attrs.push(("value", AttrValue::Float((random.between(-20, 20) as f64 / 8.0).into())));
            } else {
                attrs.push(("axis", int(axis? as i64)));
            }
        }
        "dims" => attrs.push(("values", dims(ty.shape.clone()))),
        "cast" => attrs.push(("dtype", word(random.pick(&options.dtypes).name()))),
        "clamp" => attrs.push(("min", AttrValue::Float((random.between(-3, 3) as f64).into()))),
        "leaky_relu" => attrs.push(("alpha", AttrValue::Float(0.01.into()))),
        "transpose" => {
            let mut perm: Vec<i64> = (0..rank as i64).collect();
            (1..rank).for_each(|at| perm.swap(at, random.below(at + 1)));
            attrs.push(("perm", ints(perm)));
        }
        "reshape" => {
            let at = axis?;
            let mut shape = ty.shape.clone();
            match random.below(3) {
                0 => shape.insert(at, Dim::from(1)),
                1 if at + 1 < rank => {
                    let next = shape.remove(at + 1);
                    shape[at] = &shape[at] * &next;
                }
                _ => shape = vec![ty.elements()],
            }
            attrs.push(("shape", dims(shape)));
        }
        "broadcast" => {
            let mut shape = ty.shape.clone();
            shape.insert(0, Dim::from(random.between(1, 3)));
            attrs.push(("shape", dims(shape)));
        }
        "slice" => {
            let at = axis?;
            let extent = ty.shape[at].as_const()?;
            let start = random.between(0, extent - 1);
            let (mut starts, mut sizes) = (vec![Dim::from(0); rank], ty.shape.clone());
            starts[at] = Dim::from(start);
            sizes[at] = Dim::from(random.between(1, extent - start));
            attrs.extend([("start", dims(starts)), ("size", dims(sizes))]);
        }
        "pad" => {
            let pads = |random: &mut Random| ints((0..rank).map(|_| random.between(0, 1)).collect());
            attrs.extend([("low", pads(random)), ("high", pads(random))]);
            attrs.push(("mode", word(["constant", "edge"][random.below(2)])));
        }
        "concat" | "gather" | "arg_max" | "arg_min" | "cum_sum" | "softmax" | "log_softmax" => {
            attrs.push(("axis", int(axis? as i64)));
        }
        "reduce_sum" | "reduce_prod" | "reduce_mean" | "reduce_max" | "reduce_min" => {
            attrs.push(("axes", ints(vec![axis? as i64])));
        }
        "normalize" | "rms_norm" => {
            attrs.extend([("axes", ints(vec![axis? as i64])), ("epsilon", AttrValue::Float(1e-5.into()))]);
        }
        "top_k" | "top_k_indices" => {
            let at = axis?;
            let k = random.between(1, ty.shape[at].as_const()?);
            attrs.extend([("k", int(k)), ("axis", int(at as i64))]);
        }
        "max_pool" | "avg_pool" => attrs.push(("kernel", ints(vec![2; rank.checked_sub(2).filter(|r| *r > 0)?]))),
        _ => {}
    }
    Some(attrs.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

/// Made-up inputs for `module`: every symbol has one value, from its range and below 5 where that allows.
pub fn random_inputs(module: &Module, seed: u64) -> IndexMap<String, TensorData> {
    random_run(module, seed).inputs
}

/// [`random_inputs`], with the values of the symbols.
pub fn random_run(module: &Module, seed: u64) -> Run {
    let mut random = Random::new(seed);
    let symbols = symbols_of(module, &mut random);
    let inputs = inputs_of(module, &symbols, &mut random);
    Run { with: String::new(), symbols, inputs }
}

/// Small values for the symbols of `module`.
pub(crate) fn symbols_of(module: &Module, random: &mut Random) -> IndexMap<Arc<str>, i64> {
    let mut symbols = IndexMap::new();
    for (name, range) in &module.symbols {
        let high = range.max.min(range.min.saturating_add(3));
        symbols.insert(name.clone(), random.between(range.min.min(high) as i64, high as i64));
    }
    symbols
}

/// Made-up inputs for `module` with these values of its symbols.
pub(crate) fn inputs_of(
    module: &Module,
    symbols: &IndexMap<Arc<str>, i64>,
    random: &mut Random,
) -> IndexMap<String, TensorData> {
    let mut inputs = IndexMap::new();
    for node in &module.graph.nodes {
        if let Op::Input(ops::Input { name, dtype, shape }) = &node.op {
            let extent = |dim: &Dim| usize::try_from(dim.eval(&|name| symbols.get(name).copied()).ok()?).ok();
            let shape = shape.iter().map(extent).collect::<Option<Vec<usize>>>();
            // A shape that is absurd has no made-up contents: the test that gives none fails with that.
            if let Some(Ok(data)) = shape.map(|shape| TensorData::random(*dtype, shape, random.bits())) {
                inputs.insert(name.to_string(), data);
            }
        }
    }
    inputs
}
