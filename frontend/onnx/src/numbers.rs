//! Small tensors whose elements are known at import, as numbers or as expressions over the model's symbols.

use drupe_ir::{DType, Dim, Module, Op, Origin, TensorData, ValueId, ops};

/// The most elements that are followed.
pub const LIMIT: usize = 1024;

/// One element.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// An integer, or a bool as 0 or 1.
    Int(Dim),
    /// A float that is known.
    Float(f64),
    /// A float that is the quotient of two dimensions.
    Ratio(Dim, Dim),
}

impl Number {
    /// A float as a quotient, exactly, where it has few enough digits for that.
    pub fn as_ratio(&self) -> Option<(Dim, Dim)> {
        match self {
            Number::Int(dim) => Some((dim.clone(), Dim::from(1))),
            Number::Ratio(a, b) => Some((a.clone(), b.clone())),
            Number::Float(value) => {
                let (numerator, denominator) = exact_ratio(*value)?;
                Some((Dim::from(numerator), Dim::from(denominator)))
            }
        }
    }

    /// The value of a quotient with both parts known, or itself.
    pub fn settled(self) -> Number {
        match &self {
            Number::Ratio(a, b) => match (a.as_const(), b.as_const()) {
                (Some(a), Some(b)) if b != 0 => Number::Float(a as f64 / b as f64),
                _ => self,
            },
            Number::Int(_) | Number::Float(_) => self,
        }
    }

    /// Its value, when known.
    pub fn as_f64(&self) -> Option<f64> {
        match self.clone().settled() {
            Number::Int(dim) => dim.as_const().map(|value| value as f64),
            Number::Float(value) => Some(value),
            Number::Ratio(..) => None,
        }
    }
}

/// `value` as `numerator / 2^k` with both below 2^40.
pub fn exact_ratio(value: f64) -> Option<(i64, i64)> {
    let mut denominator = 1i64;
    while denominator <= 1 << 32 {
        let numerator = value * denominator as f64;
        if numerator.fract() == 0.0 && numerator.abs() < (1i64 << 40) as f64 {
            return Some((numerator as i64, denominator));
        }
        denominator *= 2;
    }
    None
}

/// The quotient of small numbers that `value` was meant to be: 0.6 is 3/5, 13.333333 is 40/3; else exactly.
pub fn simple_ratio(value: f64) -> Option<(i64, i64)> {
    let (mut above, mut below) = ((1i64, 0i64), (0i64, 1i64));
    let mut rest = value;
    for _ in 0..16 {
        if rest.is_nan() || rest.abs() >= 1e6 {
            break;
        }
        let whole = rest.floor() as i64;
        above = (whole * above.0 + above.1, above.0);
        below = (whole * below.0 + below.1, below.0);
        if below.0 > 4096 || above.0.abs() > 1 << 32 {
            break;
        }
        if (above.0 as f64 / below.0 as f64) as f32 == value as f32 {
            return Some((above.0, below.0));
        }
        rest = 1.0 / (rest - rest.floor());
    }
    exact_ratio(value)
}

/// A small tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// The element type.
    pub dtype: DType,
    /// The extents.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub values: Vec<Number>,
}

impl Numbers {
    /// A tensor of `shape`, `None` if it is too large or `values` do not fill it.
    pub fn new(dtype: DType, shape: Vec<usize>, values: Vec<Number>) -> Option<Numbers> {
        (count(&shape)? == values.len()).then_some(Numbers { dtype, shape, values })
    }

    /// An i64 vector.
    pub fn vector(dims: Vec<Dim>) -> Numbers {
        Numbers { dtype: DType::I64, shape: vec![dims.len()], values: dims.into_iter().map(Number::Int).collect() }
    }

    /// An i64 scalar.
    pub fn scalar(dim: Dim) -> Numbers {
        Numbers { dtype: DType::I64, shape: Vec::new(), values: vec![Number::Int(dim)] }
    }

    /// A tensor whose element at each index is what `element` gives; `None` where it gives none.
    pub fn build(dtype: DType, shape: Vec<usize>, element: impl Fn(&[usize]) -> Option<Number>) -> Option<Numbers> {
        let total = count(&shape)?;
        let mut index = vec![0; shape.len()];
        let mut values = Vec::with_capacity(total);
        for _ in 0..total {
            values.push(element(&index)?);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Some(Numbers { dtype, shape, values })
    }

    /// The element at `index`.
    pub fn at(&self, index: &[usize]) -> Option<&Number> {
        let mut position = 0;
        for (at, extent) in index.iter().zip(&self.shape) {
            position = position * extent + at;
        }
        self.values.get(position)
    }

    /// The element that broadcasts to `index` of a tensor of higher rank.
    pub fn broadcast_at(&self, index: &[usize]) -> Option<&Number> {
        let skip = index.len().checked_sub(self.shape.len())?;
        let index: Vec<usize> =
            self.shape.iter().zip(&index[skip..]).map(|(extent, at)| if *extent == 1 { 0 } else { *at }).collect();
        self.at(&index)
    }

    /// The elements as dimensions, when all are integers.
    pub fn dims(&self) -> Option<Vec<Dim>> {
        let dim = |number: &Number| match number {
            Number::Int(dim) => Some(dim.clone()),
            Number::Float(_) | Number::Ratio(..) => None,
        };
        self.values.iter().map(dim).collect()
    }

    /// What a constant holds, if it is small and of a type that is followed.
    pub fn of(data: &TensorData) -> Option<Numbers> {
        let values: Vec<Number> = match data.dtype {
            _ if data.elements() > LIMIT => return None,
            DType::F32 | DType::F64 => to_f64(data)?.into_iter().map(Number::Float).collect(),
            DType::I64 | DType::I32 | DType::U8 | DType::I8 | DType::Bool => {
                to_i64(data)?.into_iter().map(|value| Number::Int(Dim::from(value))).collect()
            }
            DType::F16 | DType::Bf16 | DType::I4 | DType::U4 | DType::I16 => return None,
            DType::U16 | DType::U32 | DType::U64 => return None,
        };
        Numbers::new(data.dtype, data.shape.clone(), values)
    }

    /// The contents, when every element is known.
    pub fn to_data(&self) -> Option<TensorData> {
        let mut bytes = Vec::new();
        for value in &self.values {
            match (self.dtype, value.clone().settled()) {
                (DType::F32, number) => bytes.extend((number.as_f64()? as f32).to_le_bytes()),
                (DType::F64, number) => bytes.extend(number.as_f64()?.to_le_bytes()),
                (dtype, Number::Int(dim)) => {
                    let value = dim.as_const()?.to_le_bytes();
                    bytes.extend(&value[..dtype.bytes_of(1)]);
                }
                _ => return None,
            }
        }
        TensorData::from_bytes(self.dtype, self.shape.clone(), bytes).ok()
    }

    /// The tensor as a value of `module`: a constant called `name`, or computed from the symbols.
    pub fn materialise(&self, module: &mut Module, name: &str, origin: &Origin) -> Option<ValueId> {
        if let Some(data) = self.to_data() {
            return Some(module.constant(name, data));
        }
        let mut dims_of = |part: &dyn Fn(&Number) -> Option<Dim>| {
            let values = self.values.iter().map(part).collect::<Option<Vec<Dim>>>()?;
            let dims = module.add(ops::Dims { values }.into(), &[], origin).ok()?;
            module.add(ops::Cast { dtype: self.dtype }.into(), &[dims], origin).ok()
        };
        let flat = if self.dtype.is_float() {
            let above = dims_of(&|number| Some(number.as_ratio()?.0))?;
            let below = dims_of(&|number| Some(number.as_ratio()?.1))?;
            module.add(Op::Div(ops::Div {}), &[above, below], origin).ok()?
        } else if self.dtype == DType::I64 {
            let values = self.dims()?;
            module.add(ops::Dims { values }.into(), &[], origin).ok()?
        } else {
            dims_of(&|number| Some(number.as_ratio()?.0))?
        };
        if self.shape.len() == 1 {
            return Some(flat);
        }
        let shape = self.shape.iter().map(|extent| Dim::from(*extent as i64)).collect();
        module.add(ops::Reshape { shape }.into(), &[flat], origin).ok()
    }
}

/// The number of elements, `None` above [`LIMIT`].
pub fn count(shape: &[usize]) -> Option<usize> {
    let total = shape.iter().try_fold(1usize, |total, extent| total.checked_mul(*extent))?;
    (total <= LIMIT && shape.len() <= 16).then_some(total)
}

/// The elements as floats; `None` for types of four bits.
pub fn to_f64(data: &TensorData) -> Option<Vec<f64>> {
    let width = data.dtype.bytes_of(1);
    let float: fn(&[u8]) -> f64 = match data.dtype {
        DType::F32 => |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
        DType::F64 => |b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
        DType::F16 => |b| half::f16::from_le_bytes([b[0], b[1]]).into(),
        DType::Bf16 => |b| half::bf16::from_le_bytes([b[0], b[1]]).into(),
        _ => return Some(to_i64(data)?.into_iter().map(|value| value as f64).collect()),
    };
    Some(data.bytes().chunks_exact(width).map(float).collect())
}

/// The elements as integers; `None` for floats, types of four bits, and u64 above the range of i64.
pub fn to_i64(data: &TensorData) -> Option<Vec<i64>> {
    if data.dtype.is_float() || data.dtype.bits() < 8 {
        return None;
    }
    let width = data.dtype.bytes_of(1);
    let read = |bytes: &[u8]| {
        let negative = data.dtype.is_signed_int() && bytes[width - 1] & 0x80 != 0;
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..width].copy_from_slice(bytes);
        let value = i64::from_le_bytes(wide);
        (data.dtype != DType::U64 || value >= 0).then_some(value)
    };
    data.bytes().chunks_exact(width).map(read).collect()
}
