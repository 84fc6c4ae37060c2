//! Linear layers in integers, and their large channels in float.

use crate::choose::Choice;
use crate::linears::{Group, Linear, find_linears, rows_of};
use crate::scheme::{ACTIVATION_BLOCK, Activations, WeightScheme};
use crate::stored::{constant_name, stored, with_numbers};
use crate::transform::Transform;
use crate::weights::{QuantizedWeights, quantize_weights};
use drupe_ir::{DType, Diagnostic, Dim, Module, Op, Origin, TensorData, Type, ValueId, ops};
use std::collections::BTreeMap;

/// `module` with its linear layers as `choices` say, which are in the order of [`find_linears`]; those without a choice
/// stay as they are. Layers of one input become one `quantized_linear`, and slices of it:
///
/// ```text
/// y = x W   becomes   q(x_cold) Wq + x[hot] W[hot]
/// ```
///
/// where q rounds to 8 bits, `x_cold` is x with 0 in the hot channels, and Wq are the weights in integers. Splitting is
/// exact, and so is what a [`Transform`] does to `x_cold` and undoes in Wq; what is rounded is each element of q(x) and
/// each weight. Inputs of 16 bits are `255 high + low`, rows of 8 bits in one product whose halves are added. Inputs that
/// stay floats meet weights that become floats in registers. A table that a `gather` reads and that is a layer's weights
/// too (a vocabulary that goes in and comes out) is read in integers there as well. Weights that the module has in
/// integers already keep them where the choice says so; other weights of such a module become numbers.
///
/// # Errors
/// When a weight is not finite.
pub fn quantize_linears(module: &Module, choices: &[Option<Choice>]) -> Result<Module, Diagnostic> {
    quantize(module, choices, false)
}

/// [`quantize_linears`] with an input [`GATES`] more, f32 of one number for each group: the results of a group are
/// `float + gate * (integer - float)`. One module then tells what each group does to the whole. Tables that are gathered stay in
/// float.
///
/// # Errors
/// When a weight is not finite.
pub fn quantize_by_gates(module: &Module, choices: &[Option<Choice>]) -> Result<Module, Diagnostic> {
    quantize(module, choices, true)
}

/// The name of the input of [`quantize_by_gates`].
pub const GATES: &str = "gates";

fn quantize(module: &Module, choices: &[Option<Choice>], gated: bool) -> Result<Module, Diagnostic> {
    let groups = find_linears(module);
    let mut pass = Pass {
        old: module,
        new: Module { graph: Default::default(), constants: Default::default(), ..module.clone() },
        renamed: Vec::with_capacity(module.graph.nodes.len()),
        tables: BTreeMap::new(),
        gates: None,
        origin: Origin::default(),
    };
    let mut wanted: BTreeMap<ValueId, (usize, &Group, &Choice)> = BTreeMap::new();
    for (number, (group, choice)) in groups.iter().zip(choices).enumerate() {
        for linear in &group.linears {
            wanted.extend(choice.as_ref().map(|choice| (linear.result, (number, group, choice))));
        }
    }
    let gates = Type::new(DType::F32, [Dim::from(groups.len() as i64)]);
    let mut done: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let read_by_linears: BTreeMap<ValueId, WeightScheme> = wanted
        .values()
        .flat_map(|(_, group, choice)| group.linears.iter().map(|linear| (linear.weight, choice.weights)))
        .collect();
    for value in module.graph.values() {
        if gated && pass.gates.is_none() && wanted.contains_key(&value) {
            pass.gates = Some(pass.new.input(GATES, gates.clone())?);
        }
        let node = module.graph.node(value);
        pass.origin = node.origin.via("quantize-linears");
        let new = match (wanted.get(&value), &node.op) {
            (Some((number, group, choice)), _) => {
                if !done.contains_key(&value) {
                    done.extend(pass.group(group, choice)?);
                }
                match pass.gates {
                    Some(gates) => pass.gated(gates, *number, value, done[&value])?,
                    None => done[&value],
                }
            }
            (None, Op::Gather(gather))
                if !gated && gather.axis == 0 && read_by_linears.contains_key(&node.operands[0]) =>
            {
                pass.gather(node.operands[0], node.operands[1], read_by_linears[&node.operands[0]])?
            }
            (None, Op::Gather(gather)) if gather.axis == 0 && stored(module, node.operands[0]).is_some() => {
                pass.gather(node.operands[0], node.operands[1], WeightScheme::EIGHT)?
            }
            (None, Op::Const(constant)) => pass.new.constant(&constant.name, module.constants[&constant.name].clone()),
            (None, op) => {
                let operands: Vec<ValueId> =
                    node.operands.iter().map(|operand| pass.renamed[operand.index()]).collect();
                pass.new.add(op.clone(), &operands, &node.origin)?
            }
        };
        pass.renamed.push(new);
    }
    for (name, value) in &module.graph.outputs {
        pass.new.output(name, pass.renamed[value.index()]);
    }
    pass.new.remove_dead();
    with_numbers(&pass.new)
}

/// What the high half of an input of 16 bits is worth in low ones: both halves are then -127 to 127.
const WIDE_STEP: f64 = 255.0;

/// The largest integer of two halves.
pub(crate) const WIDE_MOST: f32 = 127.0 * 255.0 + 127.0;

struct Pass<'a> {
    old: &'a Module,
    new: Module,
    renamed: Vec<ValueId>,
    /// Weights that are quantised already, by the constant and how.
    tables: BTreeMap<(ValueId, WeightScheme), QuantizedWeights>,
    /// The input that says how much of each group is in integers.
    gates: Option<ValueId>,
    origin: Origin,
}

impl Pass<'_> {
    fn add(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId, Diagnostic> {
        self.new.add(op.into(), operands, &self.origin)
    }

    fn number(&mut self, value: f64) -> ValueId {
        self.new.scalar(DType::F32, value)
    }

    /// The results of all layers of `group`.
    fn group(&mut self, group: &Group, choice: &Choice) -> Result<Vec<(ValueId, ValueId)>, Diagnostic> {
        let x = self.renamed[group.x.index()];
        let name = self.name_of(group);
        let parts: Vec<QuantizedWeights> =
            group.linears.iter().map(|linear| self.changed_table(linear, choice)).collect::<Result<_, _>>()?;
        let cold = if choice.hot.is_empty() { x } else { self.without(x, &choice.hot)? };
        let cold = choice.transform.input(&mut self.new, cold, &self.origin)?;
        let mut operands = match choice.activations {
            Activations::Float => vec![cold],
            Activations::Sixteen => <[ValueId; 2]>::from(self.halved(cold)?).to_vec(),
            Activations::PerToken | Activations::Static => {
                <[ValueId; 2]>::from(self.rounded(cold, choice.scale)?).to_vec()
            }
            Activations::PerBlock => <[ValueId; 2]>::from(self.rounded_by_block(cold)?).to_vec(),
        };
        let stack = |part: fn(&QuantizedWeights) -> Option<&TensorData>| stacked(&parts, part);
        let weights = stack(|part| Some(&part.values))?;
        operands.extend(weights.map(|data| self.new.constant(&name, data)));
        let weight_scales = stack(|part| Some(&part.scales))?;
        operands.extend(weight_scales.map(|data| self.new.constant(&format!("{name}.scales"), data)));
        let offsets = stack(|part| part.offsets.as_ref())?;
        operands.extend(offsets.map(|data| self.new.constant(&format!("{name}.offsets"), data)));
        let op: Op = match choice.activations {
            Activations::Float => ops::WeightQuantizedLinear { f4: choice.weights.float && !choice.stored }.into(),
            _ => ops::QuantizedLinear {}.into(),
        };
        let mut product = self.add(op, &operands)?;
        if choice.activations == Activations::Sixteen {
            product = self.joined(product)?;
        }
        if !choice.hot.is_empty() {
            let hot = self.hot_product(group, x, &choice.hot, &name)?;
            product = self.add(ops::Add {}, &[product, hot])?;
        }
        let (mut results, mut first) = (Vec::new(), 0);
        for linear in &group.linears {
            let whole = group.linears.len() == 1;
            let part = if whole { product } else { self.columns(product, first, linear.columns)? };
            results.push((linear.result, part));
            first += linear.columns;
        }
        Ok(results)
    }

    /// The result `integer` of the layer that gave `old`, in as far as the gate of its group `number` is open.
    fn gated(&mut self, gates: ValueId, number: usize, old: ValueId, integer: ValueId) -> Result<ValueId, Diagnostic> {
        // By a constant, not by a slice: blocks that differ in constants only are rewritten once.
        let position = TensorData::from_i64(vec![1], &[number as i64]);
        let position = self.new.constant("gate", position.map_err(|error| Diagnostic::new("quantise", error))?);
        let gate = self.add(ops::Gather { axis: 0 }, &[gates, position])?;
        let node = self.old.graph.node(old);
        let operands: Vec<ValueId> = node.operands.iter().map(|operand| self.renamed[operand.index()]).collect();
        let float = self.add(node.op.clone(), &operands)?;
        let change = self.add(ops::Sub {}, &[integer, float])?;
        let change = self.add(ops::Mul {}, &[change, gate])?;
        self.add(ops::Add {}, &[float, change])
    }

    /// What constants of the group are called: the first weight's name.
    fn name_of(&self, group: &Group) -> String {
        self.quantized_name(group.linears[0].weight)
    }

    fn quantized_name(&self, weight: ValueId) -> String {
        format!("{}.quantized", constant_name(self.old, weight).unwrap_or("weight"))
    }

    /// The weights of `linear` in integers, [N, K], as they meet the changed input.
    fn changed_table(&mut self, linear: &Linear, choice: &Choice) -> Result<QuantizedWeights, Diagnostic> {
        if choice.transform == Transform::default() {
            return self.table(linear.weight, linear.transposed, choice.weights);
        }
        let fault = |error| Diagnostic::new("quantise", error);
        let mut rows = rows_of(self.old, linear.weight, linear.transposed)?.to_f32().unwrap_or_default();
        choice.transform.weights(&mut rows, linear.depth);
        let data = TensorData::from_f32(vec![linear.columns, linear.depth], &rows).map_err(fault)?;
        quantize_weights(&data, choice.weights).map_err(|error| error.at(&self.origin))
    }

    /// The constant `weight` in integers, [N, K].
    fn table(
        &mut self,
        weight: ValueId,
        transposed: bool,
        scheme: WeightScheme,
    ) -> Result<QuantizedWeights, Diagnostic> {
        if let Some(known) = self.tables.get(&(weight, scheme)) {
            return Ok(known.clone());
        }
        if let Some(stored) = stored(self.old, weight) {
            return Ok(stored);
        }
        let data = rows_of(self.old, weight, transposed)?;
        let quantized = quantize_weights(&data, scheme).map_err(|error| error.at(&self.origin))?;
        self.tables.insert((weight, scheme), quantized.clone());
        Ok(quantized)
    }

    /// `x` as integers of 8 bits, and the scale of each row.
    fn rounded(&mut self, x: ValueId, scale: Option<f32>) -> Result<(ValueId, ValueId), Diagnostic> {
        let ty = self.new.graph.ty(x).clone();
        let last = ty.rank() as i64 - 1;
        let mut rows = ty.shape.clone();
        rows[last as usize] = Dim::from(1);
        let most = self.number(127.0);
        let (scales, steps) = match scale {
            Some(scale) => {
                let splat = ops::Splat { value: f64::from(scale).into(), dtype: DType::F32, shape: rows };
                let reach = f64::from(scale) * 127.0;
                let clipped = self.add(ops::Clamp { min: (-reach).into(), max: reach.into() }, &[x])?;
                let per_unit = self.number(1.0 / f64::from(scale));
                (self.add(splat, &[])?, self.add(ops::Mul {}, &[clipped, per_unit])?)
            }
            None => {
                let magnitudes = self.add(ops::Abs {}, &[x])?;
                let largest = self.add(ops::ReduceMax { axes: vec![last] }, &[magnitudes])?;
                // A row of zeros has some scale, too.
                let least = self.number(1e-30);
                let largest = self.add(ops::Max {}, &[largest, least])?;
                let per_unit = self.add(ops::Div {}, &[most, largest])?;
                let scales = self.add(ops::Div {}, &[largest, most])?;
                (scales, self.add(ops::Mul {}, &[x, per_unit])?)
            }
        };
        let whole = self.add(ops::Round {}, &[steps])?;
        Ok((self.add(ops::Cast { dtype: DType::I8 }, &[whole])?, scales))
    }

    /// `x`, [.., K], as integers of 8 bits, and the scale of each block of a row, [.., K / block].
    fn rounded_by_block(&mut self, x: ValueId) -> Result<(ValueId, ValueId), Diagnostic> {
        let shape = self.new.graph.ty(x).shape.clone();
        let depth = channels(shape.last());
        if !depth.is_multiple_of(ACTIVATION_BLOCK) {
            return self.rounded(x, None);
        }
        let mut blocks = shape.clone();
        blocks.pop();
        blocks.push(Dim::from((depth / ACTIVATION_BLOCK) as i64));
        let by_block = blocks.iter().cloned().chain([Dim::from(ACTIVATION_BLOCK as i64)]).collect();
        let x = self.add(ops::Reshape { shape: by_block }, &[x])?;
        let (integers, scales) = self.rounded(x, None)?;
        Ok((self.add(ops::Reshape { shape }, &[integers])?, self.add(ops::Reshape { shape: blocks }, &[scales])?))
    }

    /// `x`, [.., K], as integers of 16 bits, two of 8 bits: [2, .., K], where the first is worth 255 of the second; and
    /// the scale of each row.
    fn halved(&mut self, x: ValueId) -> Result<(ValueId, ValueId), Diagnostic> {
        let shape = self.new.graph.ty(x).shape.clone();
        let axis = shape.len() as i64 - 1;
        let magnitudes = self.add(ops::Abs {}, &[x])?;
        let largest = self.add(ops::ReduceMax { axes: vec![axis] }, &[magnitudes])?;
        let least = self.number(1e-30);
        let largest = self.add(ops::Max {}, &[largest, least])?;
        let most = self.number(f64::from(WIDE_MOST));
        let per_unit = self.add(ops::Div {}, &[most, largest])?;
        let scaled = self.add(ops::Mul {}, &[x, per_unit])?;
        let whole = self.add(ops::Round {}, &[scaled])?;
        let (ratio, inverse) = (self.number(WIDE_STEP), self.number(1.0 / WIDE_STEP));
        let high = self.add(ops::Mul {}, &[whole, inverse])?;
        let high = self.add(ops::Round {}, &[high])?;
        let above = self.add(ops::Mul {}, &[high, ratio])?;
        let low = self.add(ops::Sub {}, &[whole, above])?;
        let low_scale = self.add(ops::Div {}, &[largest, most])?;
        let high_scale = self.add(ops::Mul {}, &[low_scale, ratio])?;
        let mut pair = |first, second, dtype| {
            let half = |pass: &mut Self, value| {
                let mut shape = pass.new.graph.ty(value).shape.clone();
                shape.insert(0, Dim::from(1));
                let half = pass.add(ops::Reshape { shape }, &[value])?;
                if dtype == DType::F32 { Ok(half) } else { pass.add(ops::Cast { dtype }, &[half]) }
            };
            let halves = [half(self, first)?, half(self, second)?];
            self.add(ops::Concat { axis: 0 }, &halves)
        };
        Ok((pair(high, low, DType::I8)?, pair(high_scale, low_scale, DType::F32)?))
    }

    /// The sum of the two halves of a product, [2, .., N].
    fn joined(&mut self, product: ValueId) -> Result<ValueId, Diagnostic> {
        let shape = self.new.graph.ty(product).shape[1..].to_vec();
        let sum = self.add(ops::ReduceSum { axes: vec![0] }, &[product])?;
        self.add(ops::Reshape { shape }, &[sum])
    }

    /// `x` with 0 in the channels `hot`.
    fn without(&mut self, x: ValueId, hot: &[usize]) -> Result<ValueId, Diagnostic> {
        let depth = channels(self.new.graph.ty(x).shape.last());
        let kept: Vec<f32> = (0..depth).map(|channel| if hot.contains(&channel) { 0.0 } else { 1.0 }).collect();
        let mask = TensorData::from_f32(vec![depth], &kept).map_err(|error| Diagnostic::new("quantise", error))?;
        let mask = self.new.constant("cold", mask);
        self.add(ops::Mul {}, &[x, mask])
    }

    /// The channels `hot` of `x` times their rows of all layers' weights, in float.
    fn hot_product(&mut self, group: &Group, x: ValueId, hot: &[usize], name: &str) -> Result<ValueId, Diagnostic> {
        let mut rows = vec![Vec::new(); hot.len()];
        for linear in &group.linears {
            let data = rows_of(self.old, linear.weight, linear.transposed)?;
            let numbers = data.to_f32().unwrap_or_default();
            for (row, channel) in rows.iter_mut().zip(hot) {
                row.extend((0..linear.columns).map(|column| numbers[column * linear.depth + channel]));
            }
        }
        let fault = |error| Diagnostic::new("quantise", error);
        let columns = rows.first().map_or(0, Vec::len);
        let weights = TensorData::from_f32(vec![hot.len(), columns], &rows.concat()).map_err(fault)?;
        let numbers: Vec<i64> = hot.iter().map(|channel| *channel as i64).collect();
        let numbers = TensorData::from_i64(vec![hot.len()], &numbers).map_err(fault)?;
        let numbers = self.new.constant(&format!("{name}.hot"), numbers);
        let weights = self.new.constant(&format!("{name}.hot_rows"), weights);
        let axis = self.new.graph.ty(x).rank() as i64 - 1;
        let picked = self.add(ops::Gather { axis }, &[x, numbers])?;
        self.add(ops::MatMul {}, &[picked, weights])
    }

    fn columns(&mut self, x: ValueId, first: usize, count: usize) -> Result<ValueId, Diagnostic> {
        let shape = self.new.graph.ty(x).shape.clone();
        let (mut start, mut size) = (vec![Dim::from(0); shape.len()], shape);
        let last = size.len() - 1;
        (start[last], size[last]) = (Dim::from(first as i64), Dim::from(count as i64));
        self.add(ops::Slice { start, size, step: Vec::new() }, &[x])
    }

    /// Rows of a table of weights that is in integers.
    fn gather(&mut self, table: ValueId, indices: ValueId, scheme: WeightScheme) -> Result<ValueId, Diagnostic> {
        let indices = self.renamed[indices.index()];
        let weights = self.table(table, true, scheme)?;
        let name = self.quantized_name(table);
        let mut operands = vec![self.new.constant(&name, weights.values), indices];
        operands.push(self.new.constant(&format!("{name}.scales"), weights.scales));
        operands.extend(weights.offsets.map(|data| self.new.constant(&format!("{name}.offsets"), data)));
        self.add(ops::QuantizedGather {}, &operands)
    }
}

fn channels(dim: Option<&Dim>) -> usize {
    dim.and_then(Dim::as_const).and_then(|extent| usize::try_from(extent).ok()).unwrap_or(0)
}

/// A tensor of all `parts`, one below the other; none if they have none.
fn stacked(
    parts: &[QuantizedWeights],
    of: fn(&QuantizedWeights) -> Option<&TensorData>,
) -> Result<Option<TensorData>, Diagnostic> {
    let all: Vec<&TensorData> = parts.iter().filter_map(of).collect();
    let Some(first) = all.first() else { return Ok(None) };
    let rows = all.iter().map(|data| data.shape[0]).sum();
    let bytes: Vec<u8> = all.iter().flat_map(|data| data.bytes()).copied().collect();
    TensorData::from_bytes(first.dtype, vec![rows, first.shape[1]], bytes)
        .map(Some)
        .map_err(|error| Diagnostic::new("quantise", error))
}
