//! States as integers with scales: a language model's cache of keys and values in 8 or 4 bits.

use crate::narrow_states::wide_states;
use drupe_ir::{DType, Diagnostic, Dim, Module, Node, Op, Origin, Type, ValueId, ops};
use half::f16;

/// Bits of an element of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateBits {
    /// -127 to 127.
    Eight,
    /// -8 to 7, two of them in an octet.
    Four,
}

impl StateBits {
    /// Elements of a row that share a scale, if the last axis has a multiple of them; all of it if not.
    pub fn group(self) -> i64 {
        match self {
            StateBits::Eight => 64,
            StateBits::Four => 32,
        }
    }
}

/// A value as integers and their scales; both have the axes of the value.
#[derive(Clone, Copy)]
struct Stored {
    integers: ValueId,
    scales: ValueId,
    /// The axis along which runs share a scale.
    axis: usize,
}

/// `module` with every state of f32 stored as integers, and beside it a state `NAME.scales` of f16.
///
/// A row of `[.., n]` is cut into groups of [`StateBits::group`] along its last axis. Of a group `x`:
///
/// ```text
/// 8 bits   scale = f16(max |x| / 127)                        q = clamp(round(x / scale), -127, 127)
/// 4 bits   scale = f16(m / -8), |m| = max |x|                q = clamp(round(x / scale) + 8, 0, 15)
/// ```
///
/// Halves are rounded to even, scales stay within f16, and a group of scale 0 is all zeros. With 4 bits the largest
/// magnitude takes the side that has one number more. Numbers of 4 bits lie as `dequantize` reads them, so that rows are
/// whole octets. What is only transposed or reshaped stays in integers; what else reads it, reads
/// `dequantize(integers, scales)`.
///
/// # Errors
/// When the last axis of a state is not of a known extent, or of an odd one for 4 bits.
pub fn quantize_states(module: &Module, bits: StateBits) -> Result<Module, Diagnostic> {
    let states = wide_states(module);
    let new = Module { graph: Default::default(), ..module.clone() };
    let count = module.graph.nodes.len();
    let mut change = Change { new, bits, stored: vec![None; count], wide: vec![None; count] };
    for value in module.graph.values() {
        change.value(module, value, states.contains(&value))?;
    }
    let mut outputs = Vec::new();
    for (name, value) in &module.graph.outputs {
        let state = module.states.iter().find(|(_, output)| *output == name);
        match (state, change.stored[value.index()]) {
            (Some((input, _)), Some(stored)) => {
                change.new.output(name, stored.integers);
                outputs.push((input.clone(), name.clone(), stored.scales));
            }
            _ => {
                let wide = change.wide(*value)?;
                change.new.output(name, wide);
            }
        }
    }
    let mut new = change.new;
    for (input, output, scales) in outputs {
        let window = new.windows.get(&input).copied();
        let (input, output) = (scales_of(&input), scales_of(&output));
        new.windows.extend(window.map(|rows| (input.as_str().into(), rows)));
        new.output(&output, scales);
        new.state(&input, &output);
    }
    new.remove_dead();
    Ok(new)
}

/// What the state of the scales of `state` is called.
fn scales_of(state: &str) -> String {
    format!("{state}.scales")
}

struct Change {
    new: Module,
    bits: StateBits,
    /// By value of the old module: it as integers, if it is.
    stored: Vec<Option<Stored>>,
    /// And it in its own type, if somebody wants that.
    wide: Vec<Option<ValueId>>,
}

impl Change {
    fn value(&mut self, module: &Module, value: ValueId, is_state: bool) -> Result<(), Diagnostic> {
        let node = module.graph.node(value);
        let first = node.operands.first().and_then(|operand| self.stored[operand.index()]);
        let stored = match (&node.op, first) {
            (Op::Input(input), _) if is_state => Some(self.input(&input.name, &node.ty)?),
            (op, Some(before)) if is_state => Some(self.grown(op, before, node)?),
            (Op::Transpose(op), Some(of)) => {
                let axis = op.perm.iter().position(|axis| *axis as usize == of.axis);
                self.moved(of, axis, node, |_| op.clone().into())?
            }
            (Op::Reshape(op), Some(of)) => {
                let (from, to) = (module.graph.ty(node.operands[0]), &op.shape);
                let kept = of.axis + 1 == from.rank() && to.last() == from.shape.last();
                let axis = to.len().checked_sub(1).filter(|_| kept);
                self.moved(of, axis, node, |extent| {
                    let mut shape = op.shape.clone();
                    shape.pop();
                    shape.push(extent);
                    ops::Reshape { shape }.into()
                })?
            }
            _ => None,
        };
        self.stored[value.index()] = stored;
        if stored.is_none() {
            let copied = match &node.op {
                Op::Const(constant) => self.new.constant(&constant.name, module.constants[&constant.name].clone()),
                op => {
                    let operands: Vec<ValueId> =
                        node.operands.iter().map(|operand| self.wide(*operand)).collect::<Result<_, _>>()?;
                    self.new.add(op.clone(), &operands, &node.origin)?
                }
            };
            self.wide[value.index()] = Some(copied);
        }
        Ok(())
    }

    /// The value in its own type.
    fn wide(&mut self, value: ValueId) -> Result<ValueId, Diagnostic> {
        if let Some(wide) = self.wide[value.index()] {
            return Ok(wide);
        }
        let Stored { integers, scales, axis } = self.stored[value.index()].expect("a value is stored or wide");
        let origin = self.new.graph.node(integers).origin.via("quantize-states");
        let wide = self.new.add(ops::Dequantize { axis: axis as i64 }.into(), &[integers, scales], &origin)?;
        self.wide[value.index()] = Some(wide);
        Ok(wide)
    }

    /// The inputs of a state of type `ty`.
    fn input(&mut self, name: &str, ty: &Type) -> Result<Stored, Diagnostic> {
        let refused = |why: &str| {
            Diagnostic::new("cache", format!("the state {name:?} of type {ty} cannot be stored in fewer bits: {why}"))
                .help("store it in f16, or leave it in f32: --cache")
        };
        let axis = ty.rank().checked_sub(1).filter(|axis| *axis > 0).ok_or_else(|| refused("a row is one number"))?;
        let extent = ty.shape[axis].as_const().filter(|extent| *extent > 0);
        let extent = extent.ok_or_else(|| refused("the last axis has no known extent"))?;
        let (dtype, stored) = match self.bits {
            StateBits::Eight => (DType::I8, extent),
            StateBits::Four if extent % 2 == 0 => (DType::U8, extent / 2),
            StateBits::Four => return Err(refused("the last axis has an odd extent")),
        };
        let with_last = |extent: i64| [&ty.shape[..axis], &[Dim::from(extent)]].concat();
        let groups = extent / self.group(extent);
        let integers = self.new.input(name, Type::new(dtype, with_last(stored)))?;
        let scales = self.new.input(&scales_of(name), Type::new(DType::F16, with_last(groups)))?;
        Ok(Stored { integers, scales, axis })
    }

    /// Elements of a group where there are `extent`.
    fn group(&self, extent: i64) -> i64 {
        if extent % self.bits.group() == 0 { self.bits.group() } else { extent }
    }

    /// The state `before` with the new rows of `node` behind it, which `op` puts there.
    fn grown(&mut self, op: &Op, before: Stored, node: &Node) -> Result<Stored, Diagnostic> {
        let mut parts = [vec![before.integers], vec![before.scales]];
        for rows in &node.operands[1..] {
            let rows = match self.stored[rows.index()] {
                Some(stored) => stored,
                None => {
                    let rows = self.wide(*rows)?;
                    self.quantized(rows, &node.origin.via("quantize-states"))?
                }
            };
            parts[0].push(rows.integers);
            parts[1].push(rows.scales);
        }
        let [integers, scales] = parts;
        let integers = self.new.add(op.clone(), &integers, &node.origin)?;
        let scales = self.new.add(op.clone(), &scales, &node.origin)?;
        Ok(Stored { integers, scales, axis: before.axis })
    }

    /// What a move makes of `of`, if its groups stay whole: `axis` is where they are then, `op` the move of what has
    /// so many elements there.
    fn moved(
        &mut self,
        of: Stored,
        axis: Option<usize>,
        node: &Node,
        op: impl Fn(Dim) -> Op,
    ) -> Result<Option<Stored>, Diagnostic> {
        let Some(axis) = axis else { return Ok(None) };
        let mut parts = [of.integers, of.scales];
        for part in &mut parts {
            let extent = self.new.graph.ty(*part).shape[of.axis].clone();
            *part = self.new.add(op(extent), &[*part], &node.origin)?;
        }
        Ok(Some(Stored { integers: parts[0], scales: parts[1], axis }))
    }

    /// `rows`, of f32, rounded.
    fn quantized(&mut self, rows: ValueId, origin: &Origin) -> Result<Stored, Diagnostic> {
        let shape = self.new.graph.ty(rows).shape.clone();
        let axis = shape.len() - 1;
        let extent = shape[axis].as_const().expect("the state's input has a last axis of known extent");
        let group = self.group(extent);
        let with_last = |last: &[i64]| -> Vec<Dim> {
            shape[..axis].iter().cloned().chain(last.iter().map(|extent| Dim::from(*extent))).collect()
        };
        let new = &mut self.new;
        let mut add = |op: Op, operands: &[ValueId]| new.add(op, operands, origin);
        let reshape = |shape: Vec<Dim>| Op::from(ops::Reshape { shape });
        let clamp = |min: f64, max: f64| Op::from(ops::Clamp { min: min.into(), max: max.into() });
        let cast = |dtype: DType| Op::from(ops::Cast { dtype });
        let of = |value: f64| Op::from(ops::Splat { dtype: DType::F32, shape: Vec::new(), value: value.into() });
        let axes = vec![axis as i64 + 1];

        let groups = add(reshape(with_last(&[extent / group, group])), &[rows])?;
        let (extreme, unit) = match self.bits {
            StateBits::Eight => {
                let magnitudes = add(ops::Abs {}.into(), &[groups])?;
                (add(ops::ReduceMax { axes }.into(), &[magnitudes])?, 127.0)
            }
            StateBits::Four => {
                let largest = add(ops::ReduceMax { axes: axes.clone() }.into(), &[groups])?;
                let smallest = add(ops::ReduceMin { axes }.into(), &[groups])?;
                let negated = add(ops::Neg {}.into(), &[smallest])?;
                let upwards = add(ops::Gt {}.into(), &[largest, negated])?;
                (add(ops::Where {}.into(), &[upwards, largest, smallest])?, -8.0)
            }
        };
        let unit = add(of(unit), &[])?;
        let scale = add(ops::Div {}.into(), &[extreme, unit])?;
        let scale = add(clamp(f16::MIN.to_f64(), f16::MAX.to_f64()), &[scale])?;
        let scale = add(cast(DType::F16), &[scale])?;
        let scales = add(reshape(with_last(&[extent / group])), &[scale])?;

        let scale = add(cast(DType::F32), &[scale])?;
        let (zero, one) = (add(of(0.0), &[])?, add(of(1.0), &[])?);
        let nothing = add(ops::Eq {}.into(), &[scale, zero])?;
        // A group of scale 0 gives zeros whatever is stored.
        let divisor = add(ops::Where {}.into(), &[nothing, one, scale])?;
        let quotients = add(ops::Div {}.into(), &[groups, divisor])?;
        let nearest = add(ops::Round {}.into(), &[quotients])?;
        let integers = match self.bits {
            StateBits::Eight => {
                let integers = add(clamp(-127.0, 127.0), &[nearest])?;
                let integers = add(cast(DType::I8), &[integers])?;
                add(reshape(with_last(&[extent])), &[integers])?
            }
            StateBits::Four => {
                let bias = add(of(ops::Dequantize::BIAS as f64), &[])?;
                let moved = add(ops::Add {}.into(), &[nearest, bias])?;
                let stored = add(clamp(0.0, 15.0), &[moved])?;
                let mut halves = Vec::new();
                for first in [0, group / 2] {
                    let mut start = vec![Dim::from(0); axis + 2];
                    start[axis + 1] = Dim::from(first);
                    let size = with_last(&[extent / group, group / 2]);
                    halves.push(add(ops::Slice { start, size, step: Vec::new() }.into(), &[stored])?);
                }
                let sixteen = add(of(16.0), &[])?;
                let high = add(ops::Mul {}.into(), &[halves[1], sixteen])?;
                let octets = add(ops::Add {}.into(), &[halves[0], high])?;
                let octets = add(cast(DType::U8), &[octets])?;
                add(reshape(with_last(&[extent / 2])), &[octets])?
            }
        };
        Ok(Stored { integers, scales, axis })
    }
}
