//! What a rule is.

use crate::node::TensorNode;
use crate::pattern::{Match, Pattern, View};
use crate::term::Term;
use drupe_ir::{DType, Module, Op, TensorData, Type, ValueId};
use egg::Id;

/// One equality, read from left to right: a class that matches the left side computes the right side too.
pub struct Rule {
    /// A kebab-case name, unique among all rules.
    pub name: &'static str,
    /// The law in one line.
    pub law: &'static str,
    /// Finds the left side and gives the right.
    pub search: Search,
    /// A small graph on which the rule fires; the tests evaluate both sides.
    pub example: fn(&mut Example) -> ValueId,
}

/// How a rule finds its left side.
pub enum Search {
    /// By a pattern; the function may still decline.
    Pattern(Pattern, fn(View, &Match) -> Option<Term>),
    /// By looking at a member of a class; gives every right side.
    Function(fn(View, Id, &TensorNode) -> Vec<Term>),
}

impl Rule {
    /// The right sides for `node`, a member of `class`.
    pub fn right_sides(&self, view: View, class: Id, node: &TensorNode) -> Vec<Term> {
        match &self.search {
            Search::Pattern(pattern, right) => {
                pattern.matches(view, node).iter().filter_map(|found| right(view, found)).collect()
            }
            Search::Function(search) => search(view, class, node),
        }
    }
}

/// A rule by pattern: `rule("name", "law", pattern, right side, example)`.
pub const fn rule(
    name: &'static str,
    law: &'static str,
    pattern: Pattern,
    right: fn(View, &Match) -> Option<Term>,
    example: fn(&mut Example) -> ValueId,
) -> Rule {
    Rule { name, law, search: Search::Pattern(pattern, right), example }
}

/// A rule by function: `search("name", "law", function, example)`.
pub const fn search(
    name: &'static str,
    law: &'static str,
    search: fn(View, Id, &TensorNode) -> Vec<Term>,
    example: fn(&mut Example) -> ValueId,
) -> Rule {
    Rule { name, law, search: Search::Function(search), example }
}

/// Builds the example graph of a rule.
pub struct Example {
    /// The module under construction.
    pub module: Module,
    inputs: usize,
    constants: u32,
}

impl Default for Example {
    fn default() -> Example {
        Example { module: Module::new("example"), inputs: 0, constants: 0 }
    }
}

impl Example {
    /// A new f32 input.
    pub fn input(&mut self, shape: &[i64]) -> ValueId {
        self.input_of(DType::F32, shape)
    }

    /// A new input.
    pub fn input_of(&mut self, dtype: DType, shape: &[i64]) -> ValueId {
        self.inputs += 1;
        let ty = Type::new(dtype, shape.iter().copied());
        self.module.input(&format!("x{}", self.inputs), ty).expect("examples are well-typed")
    }

    /// A new f32 constant of values between 0.25 and 1.75, all different.
    pub fn constant(&mut self, shape: &[i64]) -> ValueId {
        let shape: Vec<usize> = shape.iter().map(|extent| *extent as usize).collect();
        let count: usize = shape.iter().product();
        self.constants += 1;
        let value = |index: usize| 0.25 + ((index as u32 + self.constants * 7) * 37 % 101) as f32 / 101.0 * 1.5;
        let values: Vec<f32> = (0..count).map(value).collect();
        let data = TensorData::from_f32(shape, &values).expect("as many values as the shape has elements");
        self.module.constant(&format!("c{}", self.constants), data)
    }

    /// An f32 scalar.
    pub fn number(&mut self, value: f64) -> ValueId {
        self.module.scalar(DType::F32, value)
    }

    /// A node.
    pub fn add(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
        self.module.add(op.into(), operands, &Default::default()).expect("examples are well-typed")
    }
}
