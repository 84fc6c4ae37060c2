//! Expressions and statements of one function, in order.

use naga::{
    AddressSpace, ArraySize, BinaryOperator, Block, Expression, Function, GlobalVariable, Handle, Literal,
    LocalVariable, MathFunction, Module, Range, Scalar, ScalarKind, Span, Statement, Type, TypeInner, UnaryOperator,
    VectorSize,
};
use std::collections::BTreeMap;

use crate::Needs;

/// An expression.
pub(super) type Expr = Handle<Expression>;

/// The type of a part of a value: a scalar, or a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub scalar: Scalar,
    pub size: Option<VectorSize>,
}

impl Kind {
    /// The same lanes of another scalar.
    pub fn with(self, scalar: Scalar) -> Kind {
        Kind { scalar, ..self }
    }

    /// Octets in memory.
    pub fn octets(self) -> u32 {
        u32::from(self.scalar.width) * self.size.map_or(1, u32::from)
    }
}

/// The function that is being written. Every expression is emitted in the block that is open when it is made, at once:
/// so its operands are there before it.
#[derive(Default)]
pub(super) struct Code {
    pub module: Module,
    pub function: Function,
    pub needs: Needs,
    /// The blocks being written, innermost last.
    open: Vec<Block>,
    /// Expressions that are not in a statement yet: consecutive ones.
    pending: Option<(Expr, Expr)>,
    /// The constants made so far, by type and bits.
    literals: BTreeMap<(ScalarKind, u8, u64), Expr>,
}

impl Code {
    /// Starts a block.
    pub fn open(&mut self) {
        self.flush();
        self.open.push(Block::new());
    }

    /// Ends the innermost block.
    pub fn close(&mut self) -> Block {
        self.flush();
        self.open.pop().expect("a block is open")
    }

    fn flush(&mut self) {
        if let Some((first, last)) = self.pending.take() {
            let emit = Statement::Emit(Range::new_from_bounds(first, last));
            self.open.last_mut().expect("a block is open").push(emit, Span::UNDEFINED);
        }
    }

    /// Adds a statement.
    pub fn statement(&mut self, statement: Statement) {
        self.flush();
        self.open.last_mut().expect("a block is open").push(statement, Span::UNDEFINED);
    }

    /// An expression that no block emits: constants, variables, results of statements.
    pub fn given(&mut self, expression: Expression) -> Expr {
        self.function.expressions.append(expression, Span::UNDEFINED)
    }

    /// An expression, computed here.
    pub fn emit(&mut self, expression: Expression) -> Expr {
        let new = self.function.expressions.append(expression, Span::UNDEFINED);
        match self.pending {
            Some((first, last)) if last.index() + 1 == new.index() => self.pending = Some((first, new)),
            Some(_) | None => {
                self.flush();
                self.pending = Some((new, new));
            }
        }
        new
    }

    /// The type of a part.
    pub fn ty(&mut self, kind: Kind) -> Handle<Type> {
        self.needs.note(kind.scalar);
        let inner = match kind.size {
            None => TypeInner::Scalar(kind.scalar),
            Some(size) => TypeInner::Vector { size, scalar: kind.scalar },
        };
        self.named_type(None, inner)
    }

    /// A type; one with another name is another type.
    pub fn named_type(&mut self, name: Option<&str>, inner: TypeInner) -> Handle<Type> {
        self.module.types.insert(Type { name: name.map(str::to_owned), inner }, Span::UNDEFINED)
    }

    /// The type of an array of `length` elements.
    pub fn array(&mut self, base: Handle<Type>, size: ArraySize, stride: u32) -> Handle<Type> {
        self.named_type(None, TypeInner::Array { base, size, stride })
    }

    pub fn literal(&mut self, literal: Literal) -> Expr {
        let scalar = literal.scalar();
        self.needs.note(scalar);
        let bits = match literal {
            Literal::F64(value) => value.to_bits(),
            Literal::F32(value) => value.to_bits().into(),
            Literal::F16(value) => value.to_bits().into(),
            Literal::U16(value) => value.into(),
            Literal::I16(value) => value as u64,
            Literal::U32(value) => value.into(),
            Literal::I32(value) => value as u64,
            Literal::U64(value) => value,
            Literal::I64(value) | Literal::AbstractInt(value) => value as u64,
            Literal::Bool(value) => value.into(),
            Literal::AbstractFloat(value) => value.to_bits(),
        };
        let key = (scalar.kind, scalar.width, bits);
        if let Some(known) = self.literals.get(&key) {
            return *known;
        }
        let new = self.given(Expression::Literal(literal));
        self.literals.insert(key, new);
        new
    }

    pub fn i32(&mut self, value: i32) -> Expr {
        self.literal(Literal::I32(value))
    }

    pub fn u32(&mut self, value: u32) -> Expr {
        self.literal(Literal::U32(value))
    }

    /// An integer of type `kind` in every lane; it wraps.
    pub fn int(&mut self, kind: Kind, value: i64) -> Expr {
        let literal = match (kind.scalar.kind, kind.scalar.width) {
            (ScalarKind::Bool, _) => Literal::Bool(value != 0),
            (ScalarKind::Uint, 8) => Literal::U64(value as u64),
            (ScalarKind::Uint, _) => Literal::U32(value as u32),
            (ScalarKind::Sint, 8) => Literal::I64(value),
            (_, _) => Literal::I32(value as i32),
        };
        let scalar = self.literal(literal);
        self.splat(kind.size, scalar)
    }

    pub fn splat(&mut self, size: Option<VectorSize>, value: Expr) -> Expr {
        match size {
            Some(size) => self.emit(Expression::Splat { size, value }),
            None => value,
        }
    }

    pub fn compose(&mut self, kind: Kind, components: Vec<Expr>) -> Expr {
        let ty = self.ty(kind);
        self.emit(Expression::Compose { ty, components })
    }

    pub fn binary(&mut self, op: BinaryOperator, left: Expr, right: Expr) -> Expr {
        self.emit(Expression::Binary { op, left, right })
    }

    pub fn unary(&mut self, op: UnaryOperator, expr: Expr) -> Expr {
        self.emit(Expression::Unary { op, expr })
    }

    pub fn select(&mut self, condition: Expr, accept: Expr, reject: Expr) -> Expr {
        self.emit(Expression::Select { condition, accept, reject })
    }

    pub fn math(&mut self, fun: MathFunction, arguments: &[Expr]) -> Expr {
        let arg = |index: usize| arguments.get(index).copied();
        self.emit(Expression::Math { fun, arg: arguments[0], arg1: arg(1), arg2: arg(2), arg3: arg(3) })
    }

    /// Conversion to another scalar type; of integers of one size, the same bits.
    pub fn convert(&mut self, expr: Expr, to: Scalar) -> Expr {
        self.needs.note(to);
        self.emit(Expression::As { expr, kind: to.kind, convert: Some(to.width) })
    }

    /// The same bits as another kind of the same size.
    pub fn bits(&mut self, expr: Expr, kind: ScalarKind) -> Expr {
        self.emit(Expression::As { expr, kind, convert: None })
    }

    pub fn component(&mut self, base: Expr, index: u32) -> Expr {
        self.emit(Expression::AccessIndex { base, index })
    }

    pub fn access(&mut self, base: Expr, index: Expr) -> Expr {
        self.emit(Expression::Access { base, index })
    }

    pub fn load(&mut self, pointer: Expr) -> Expr {
        self.emit(Expression::Load { pointer })
    }

    pub fn store(&mut self, pointer: Expr, value: Expr) {
        self.statement(Statement::Store { pointer, value });
    }

    /// `!(a == a)`: naga's `!=` of floats does not hold for NaN, its `==` is right.
    pub fn is_nan(&mut self, a: Expr) -> Expr {
        let equal = self.binary(BinaryOperator::Equal, a, a);
        self.unary(UnaryOperator::LogicalNot, equal)
    }

    /// A variable of the function.
    pub fn variable(&mut self, name: &str, ty: Handle<Type>) -> Expr {
        let variable = LocalVariable { name: Some(name.into()), ty, init: None };
        let handle = self.function.local_variables.append(variable, Span::UNDEFINED);
        self.given(Expression::LocalVariable(handle))
    }

    /// A variable of the module.
    pub fn global(&mut self, variable: GlobalVariable) -> Expr {
        let handle = self.module.global_variables.append(variable, Span::UNDEFINED);
        self.given(Expression::GlobalVariable(handle))
    }

    /// An array that invocations share.
    pub fn workgroup_array(&mut self, name: &str, ty: Handle<Type>) -> Expr {
        self.global(GlobalVariable {
            name: Some(name.into()),
            space: AddressSpace::WorkGroup,
            binding: None,
            ty,
            init: None,
            memory_decorations: naga::MemoryDecorations::empty(),
        })
    }

    /// Where all wait, and see what was stored to shared arrays.
    pub fn barrier(&mut self) {
        self.statement(Statement::ControlBarrier(naga::Barrier::WORK_GROUP));
    }
}
