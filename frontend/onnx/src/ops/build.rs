//! Short forms for the tensor operators that most imports are made of.

use crate::node::{Node, Result};
use drupe_ir::{DType, Dim, Op, TensorData, ValueId, ops};

/// `Node::name(a, b)` for binary operators.
macro_rules! binaries {
    ($($name:ident $op:ident,)*) => {
        impl Node<'_> {
            $(#[doc = concat!("Adds `", stringify!($name), "(a, b)`.")]
            pub fn $name(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
                self.add(ops::$op {}, &[a, b])
            })*
        }
    };
}

binaries! {
    plus Add, minus Sub, times Mul, over Div, equal Eq, less Lt, greater Gt, less_equal Le, greater_equal Ge,
    both And, either Or, matmul MatMul, larger Max, smaller Min, power Pow,
}

/// `Node::name(x)` for unary operators.
macro_rules! unaries {
    ($($name:ident $op:ident,)*) => {
        impl Node<'_> {
            $(#[doc = concat!("Adds `", stringify!($name), "(x)`.")]
            pub fn $name(&mut self, x: ValueId) -> Result<ValueId> {
                self.add(ops::$op {}, &[x])
            })*
        }
    };
}

unaries! {
    negative Neg, absolute Abs, square_root Sqrt, exponential Exp, logarithm Log, rounded Round,
    hyperbolic_tangent Tanh, sigmoid Sigmoid, inverted Not,
}

impl Node<'_> {
    /// Adds the operator called `name` in the table, which has no attributes.
    pub fn named(&mut self, name: &str, operands: &[ValueId]) -> Result<ValueId> {
        let op = Op::parse(name, &[]).map_err(|error| self.unsupported(error))?;
        self.add(op, operands)
    }

    /// x as `dtype`.
    pub fn cast(&mut self, x: ValueId, dtype: DType) -> Result<ValueId> {
        if self.dtype(x) == dtype {
            return Ok(x);
        }
        // Out of range for four bits, a float keeps its lowest bits.
        let x = if self.dtype(x).is_float() && dtype.bits() == 4 {
            self.add(ops::Cast { dtype: DType::I32 }, &[x])?
        } else {
            x
        };
        self.add(ops::Cast { dtype }, &[x])
    }

    /// x in another shape.
    pub fn reshape(&mut self, x: ValueId, shape: Vec<Dim>) -> Result<ValueId> {
        if self.shape(x) == shape { Ok(x) } else { self.add(ops::Reshape { shape }, &[x]) }
    }

    /// x broadcast to `shape`.
    pub fn broadcast(&mut self, x: ValueId, shape: Vec<Dim>) -> Result<ValueId> {
        if self.shape(x) == shape { Ok(x) } else { self.add(ops::Broadcast { shape }, &[x]) }
    }

    /// x with its axes in the order `perm`.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId> {
        if perm.iter().copied().eq(0..perm.len()) && perm.len() == self.rank(x) {
            return Ok(x);
        }
        self.add(ops::Transpose { perm: perm.iter().map(|axis| *axis as i64).collect() }, &[x])
    }

    /// x with its last two axes exchanged.
    pub fn transpose_matrix(&mut self, x: ValueId) -> Result<ValueId> {
        let rank = self.rank(x);
        if rank < 2 {
            return Err(self.invalid(format!("a matrix has rank {rank}")));
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 2, rank - 1);
        self.transpose(x, &perm)
    }

    /// `size` elements of x along `axis`, from `start`.
    pub fn slice_axis(&mut self, x: ValueId, axis: usize, start: Dim, size: Dim) -> Result<ValueId> {
        let shape = self.shape(x);
        if start.is(0) && size == shape[axis] {
            return Ok(x);
        }
        let mut starts = vec![Dim::from(0); shape.len()];
        let mut sizes = shape;
        (starts[axis], sizes[axis]) = (start, size);
        self.add(ops::Slice { start: starts, size: sizes, step: Vec::new() }, &[x])
    }

    /// x with its order along `axis` reversed.
    pub fn reversed(&mut self, x: ValueId, axis: usize) -> Result<ValueId> {
        let size = self.shape(x);
        let mut start = vec![Dim::from(0); size.len()];
        let mut step = vec![1; size.len()];
        (start[axis], step[axis]) = (&size[axis] - &Dim::from(1), -1);
        self.add(ops::Slice { start, size, step }, &[x])
    }

    /// Several tensors joined along `axis`.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId> {
        match parts {
            [one] => Ok(*one),
            _ => self.add(ops::Concat { axis: axis as i64 }, parts),
        }
    }

    /// x without the axes `axes`, which have extent 1.
    pub fn drop_axes(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        let shape = self.shape(x);
        let kept = shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, dim)| dim.clone());
        self.reshape(x, kept.collect())
    }

    /// x with axes of extent 1 inserted, so that they have the places `axes` in the result.
    pub fn insert_axes(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        let mut shape = self.shape(x);
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        for axis in sorted {
            if axis > shape.len() {
                return Err(self.invalid(format!("axis {axis} of a tensor of rank {}", shape.len() + 1)));
            }
            shape.insert(axis, Dim::from(1));
        }
        self.reshape(x, shape)
    }

    /// A vector along `axis` of tensors of rank `rank`, so that it broadcasts there. Constants stay constants.
    pub fn along_axis(&mut self, vector: ValueId, axis: usize, rank: usize) -> Result<ValueId> {
        let length = match self.shape(vector).as_slice() {
            [length] => length.clone(),
            other => return Err(self.invalid(format!("a vector is expected, one of shape {other:?} given"))),
        };
        let shape: Vec<Dim> = (axis..rank).map(|at| if at == axis { length.clone() } else { Dim::from(1) }).collect();
        if let Some(data) = self.constant_of(vector).filter(|data| data.bytes().len() <= 1 << 16) {
            let extents = shape.iter().map(|dim| dim.as_const().and_then(|dim| usize::try_from(dim).ok()));
            if let Some(extents) = extents.collect::<Option<Vec<usize>>>()
                && let Ok(reshaped) = TensorData::from_bytes(data.dtype, extents, data.bytes().to_vec())
            {
                let name = match &self.importer.module.graph.node(vector).op {
                    Op::Const(constant) => constant.name.to_string(),
                    _ => self.label.clone(),
                };
                return Ok(self.importer.module.constant(&name, reshaped));
            }
        }
        self.reshape(vector, shape)
    }

    /// `clamp(x, min, max)`.
    pub fn clamp(&mut self, x: ValueId, min: f64, max: f64) -> Result<ValueId> {
        self.add(ops::Clamp { min: min.into(), max: max.into() }, &[x])
    }

    /// x where `condition` holds, else `other`.
    pub fn choose(&mut self, condition: ValueId, x: ValueId, other: ValueId) -> Result<ValueId> {
        self.add(ops::Where {}, &[condition, x, other])
    }

    /// `x + value`.
    pub fn plus_number(&mut self, x: ValueId, value: f64) -> Result<ValueId> {
        let value = self.number_like(x, value);
        self.plus(x, value)
    }

    /// `x * value`.
    pub fn times_number(&mut self, x: ValueId, value: f64) -> Result<ValueId> {
        if value == 1.0 {
            return Ok(x);
        }
        let value = self.number_like(x, value);
        self.times(x, value)
    }

    /// The sum of x over `axes`, which stay with extent 1.
    pub fn sum_over(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.add(ops::ReduceSum { axes: signed(axes) }, &[x])
    }

    /// The mean of x over `axes`, which stay with extent 1.
    pub fn mean_over(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.add(ops::ReduceMean { axes: signed(axes) }, &[x])
    }

    /// The index along `axis` of a tensor of `rank` axes and extent `extent` there, 1 elsewhere.
    pub fn index_along(&mut self, extent: Dim, axis: usize, rank: usize, dtype: DType) -> Result<ValueId> {
        let mut shape = vec![Dim::from(1); rank];
        shape[axis] = extent;
        self.add(ops::Iota { dtype, shape, axis: axis as i64 }, &[])
    }
}

/// Axes as attributes hold them.
pub fn signed(axes: &[usize]) -> Vec<i64> {
    axes.iter().map(|axis| *axis as i64).collect()
}
