//! The textual IR, read: see `docs/ir.md`. What [`crate::print`] writes reads back as the same text.
//!
//! More than is written can be read: values may have any name (`%conv.1`), an input without a quoted name is
//! called as its value, result types may be left out where they follow from the operands, and constants may be
//! given (`const @w = [1.0, 2.0] : f32[2]`) or made up (`const @w = random seed=3 : f32[64]`) ahead of the
//! function. A constant that only a node names gets contents made up from its name;
//! [`Parsed::without_contents`] lists those.

mod expression;
mod scan;

use crate::{AttrValue, Diagnostic, Module, Op, Origin, SymbolRange, TensorData, Type, ValueId, literal};
use expression::{attr_value, list, ty, unsigned};
pub use scan::Scanner;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// What a text says.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The module, verified.
    pub module: Module,
    /// Constants whose contents the text does not have: the module has made-up ones.
    pub without_contents: Vec<Arc<str>>,
}

/// The module that `text` is; errors name `file`, line and column.
pub fn parse(text: &str, file: &str) -> Result<Module, Diagnostic> {
    parse_text(text, file).map(|parsed| parsed.module)
}

/// [`parse`], with what the text leaves open.
pub fn parse_text(text: &str, file: &str) -> Result<Parsed, Diagnostic> {
    let mut parser = Parser {
        scan: Scanner::new(text, file),
        module: Module::new(""),
        values: BTreeMap::new(),
        without_contents: Vec::new(),
    };
    parser.module()?;
    parser.module.verify()?;
    Ok(Parsed { module: parser.module, without_contents: parser.without_contents })
}

struct Parser<'a> {
    scan: Scanner<'a>,
    module: Module,
    values: BTreeMap<String, ValueId>,
    without_contents: Vec<Arc<str>>,
}

impl Parser<'_> {
    fn module(&mut self) -> Result<(), Diagnostic> {
        loop {
            if self.scan.eat("dim") {
                self.symbol()?;
            } else if self.scan.eat("const") {
                self.constant()?;
            } else if self.scan.eat("state") {
                self.state()?;
            } else if self.scan.eat("func") {
                self.function()?;
                let at_end = self.scan.rest().is_empty();
                return if at_end { Ok(()) } else { Err(self.scan.expected("the end")) };
            } else {
                return Err(self.scan.expected("`dim`, `const`, `state` or `func`"));
            }
        }
    }

    /// `dim B in 1..=32`.
    fn symbol(&mut self) -> Result<(), Diagnostic> {
        let start = self.scan.position();
        let Some(name) = self.scan.identifier() else { return Err(self.scan.expected("a symbol")) };
        self.scan.expect("in")?;
        let min = unsigned(&mut self.scan)?;
        self.scan.expect("..=")?;
        let range = SymbolRange { min, max: unsigned(&mut self.scan)? };
        match self.module.symbols.insert(name.into(), range) {
            Some(_) => Err(self.scan.error_at(start, format!("the symbol `{name}` is declared twice"))),
            None => Ok(()),
        }
    }

    /// `const @w = [1.0, 2.0] : f32[2]` or `const @w = random seed=3 : f32[64]`.
    fn constant(&mut self) -> Result<(), Diagnostic> {
        let start = self.scan.position();
        self.scan.expect("@")?;
        let name: Arc<str> = self.scan.name("a constant's name")?.into();
        self.scan.expect("=")?;
        let data = if self.scan.eat("random") {
            let mut seed = literal::seed_of(&name);
            if self.scan.eat("seed") {
                self.scan.expect("=")?;
                seed = unsigned(&mut self.scan)?;
            }
            self.scan.expect(":")?;
            let at = self.scan.position();
            let ty = ty(&mut self.scan)?;
            self.made_up(at, &ty, seed)?
        } else {
            self.scan.expect("[")?;
            let texts = list(&mut self.scan, "]", element)?;
            self.scan.expect(":")?;
            let at = self.scan.position();
            let ty = ty(&mut self.scan)?;
            let mut elements = Vec::new();
            for (at, text) in texts {
                let wrong = || self.scan.error_at(at, format!("`{text}` is no {}", ty.dtype));
                elements.push(literal::read(ty.dtype, &text).ok_or_else(wrong)?);
            }
            let bytes = literal::pack(ty.dtype, elements.into_iter());
            TensorData::from_bytes(ty.dtype, self.static_shape(at, &ty)?, bytes)
                .map_err(|error| self.scan.error_at(at, error))?
        };
        match self.module.constants.insert(name.clone(), data) {
            Some(_) => Err(self.scan.error_at(start, format!("the constant @{name} is given twice"))),
            None => Ok(()),
        }
    }

    /// `state "cache.key" -> "cache.key.next"`, and `last=511` where only so many rows count.
    fn state(&mut self) -> Result<(), Diagnostic> {
        let start = self.scan.position();
        let input: Arc<str> = self.scan.quoted()?.into();
        self.scan.expect("->")?;
        let output: Arc<str> = self.scan.quoted()?.into();
        if self.scan.eat("last") {
            self.scan.expect("=")?;
            self.module.windows.insert(input.clone(), unsigned(&mut self.scan)?);
        }
        match self.module.states.insert(input.clone(), output) {
            Some(_) => Err(self.scan.error_at(start, format!("the input {input:?} has two next values"))),
            None => Ok(()),
        }
    }

    fn static_shape(&self, at: usize, ty: &Type) -> Result<Vec<usize>, Diagnostic> {
        ty.static_shape().ok_or_else(|| self.scan.error_at(at, format!("{ty} is not the type of a constant")))
    }

    fn made_up(&self, at: usize, ty: &Type, seed: u64) -> Result<TensorData, Diagnostic> {
        TensorData::random(ty.dtype, self.static_shape(at, ty)?, seed).map_err(|error| self.scan.error_at(at, error))
    }

    /// `@main(%x: f32[4] "x") -> f32[4] { ... }`.
    fn function(&mut self) -> Result<(), Diagnostic> {
        self.scan.expect("@")?;
        self.module.name = self.scan.name("the module's name")?;
        self.scan.expect("(")?;
        if !self.scan.eat(")") {
            loop {
                self.input()?;
                if self.scan.eat(")") {
                    break;
                }
                self.scan.expect(",")?;
            }
        }
        let results_at = self.scan.position();
        let results = match (self.scan.eat("->"), self.scan.eat("(")) {
            (false, false) => None,
            (true, true) => Some(list(&mut self.scan, ")", ty)?),
            (true, false) => Some(vec![ty(&mut self.scan)?]),
            (false, true) => return Err(self.scan.error_at(results_at, "`->` or `{` expected, `(` found")),
        };
        self.scan.expect("{")?;
        while !self.scan.eat("return") {
            if !self.scan.rest().starts_with('%') {
                return Err(self.scan.expected("`%` of a value, or `return`"));
            }
            self.node()?;
        }
        self.outputs()?;
        self.scan.expect("}")?;
        let found: Vec<&Type> = self.module.graph.outputs.values().map(|value| self.module.graph.ty(*value)).collect();
        match results {
            Some(stated) if stated.iter().ne(found.iter().copied()) => {
                let found: Vec<String> = found.iter().map(|ty| ty.to_string()).collect();
                Err(self.scan.error_at(results_at, format!("the results are ({})", found.join(", "))))
            }
            _ => Ok(()),
        }
    }

    fn define(&mut self, start: usize, name: String, value: ValueId) -> Result<(), Diagnostic> {
        match self.values.insert(name.clone(), value) {
            Some(_) => Err(self.scan.error_at(start, format!("the value %{name} is defined twice"))),
            None => Ok(()),
        }
    }

    fn input(&mut self) -> Result<(), Diagnostic> {
        let start = self.scan.position();
        self.scan.expect("%")?;
        let value_name = self.scan.name("a value's name")?;
        self.scan.expect(":")?;
        let at = self.scan.position();
        let ty = ty(&mut self.scan)?;
        if ty.scale.is_some() {
            return Err(self.scan.error_at(at, "an input of a quantised type"));
        }
        let name = if self.scan.rest().starts_with('"') { self.scan.quoted()? } else { value_name.clone() };
        if self.module.graph.inputs().any(|(known, _)| **known == *name) {
            return Err(self.scan.error_at(start, format!("a second input is called {name:?}")));
        }
        let origin = self.origin()?;
        let value = self.module.input(&name, ty)?;
        self.module.graph.nodes[value.index()].origin = origin;
        self.define(start, value_name, value)
    }

    /// `%2 = add(%0, %1) attr=value : f32[4] at "node" in "file" via pass`.
    fn node(&mut self) -> Result<(), Diagnostic> {
        let start = self.scan.position();
        self.scan.expect("%")?;
        let name = self.scan.name("a value's name")?;
        self.scan.expect("=")?;
        let op_at = self.scan.position();
        let Some(op_name) = self.scan.identifier() else { return Err(self.scan.expected("an operator")) };
        let constant = if op_name == "const" {
            self.scan.expect("@")?;
            Some(self.scan.name("a constant's name")?)
        } else {
            None
        };
        let operands = if constant.is_none() { self.operands()? } else { Vec::new() };
        let mut attrs: Vec<(String, AttrValue)> = Vec::new();
        while !matches!(self.scan.rest().chars().next(), Some(':' | '%' | '}') | None) {
            let before = self.scan.position();
            // `return`, where the type is left out.
            if self.origin_is_next() || self.scan.next_is("return") {
                break;
            }
            let Some(attr) = self.scan.identifier() else { return Err(self.scan.expected("an attribute or `:`")) };
            if attrs.iter().any(|(known, _)| known == attr) {
                return Err(self.scan.error_at(before, format!("the attribute `{attr}` is given twice")));
            }
            self.scan.expect("=")?;
            attrs.push((attr.into(), attr_value(&mut self.scan)?));
        }
        let ty_at = self.scan.position();
        let stated = if self.scan.eat(":") { Some(ty(&mut self.scan)?) } else { None };
        let origin = self.origin()?;
        if let Some(constant) = &constant {
            attrs.push(("name".into(), AttrValue::Text(constant.as_str().into())));
        }
        if matches!(op_name, "const" | "splat" | "iota") {
            let Some(stated) = &stated else { return Err(self.scan.expected("`:` and the type")) };
            attrs.push(("dtype".into(), AttrValue::Word(stated.dtype.name().into())));
            attrs.push(("shape".into(), AttrValue::List(stated.shape.iter().cloned().map(AttrValue::Dim).collect())));
        }
        let here = self.scan.origin(op_at);
        let op = Op::parse(op_name, &attrs)
            .map_err(|error| Diagnostic::new("parse", format!("{op_name}: {error}")).at(&here))?;
        if matches!(op, Op::Input(_)) {
            return Err(self.scan.error_at(op_at, "inputs stand between the parentheses of `func`"));
        }
        if let (Some(constant), Some(stated)) = (constant, &stated) {
            self.known_contents(&constant.into(), ty_at, stated)?;
        }
        // Nodes without an origin of their own fail at their place in the text.
        let known = !origin.is_unknown();
        let value = self.module.add(op, &operands, if known { &origin } else { &here })?;
        let node = &mut self.module.graph.nodes[value.index()];
        node.origin = origin;
        let symbols = node.ty.shape.iter().flat_map(|dim| dim.symbols());
        if let Some(symbol) = symbols.into_iter().find(|symbol| !self.module.symbols.contains_key(symbol)) {
            return Err(self.scan.error_at(ty_at, format!("the symbol `{symbol}` is not declared")));
        }
        match stated {
            Some(stated) if stated != node.ty => {
                let message = format!("{op_name} gives {}, not {stated}", node.ty);
                Err(self.scan.error_at(ty_at, message))
            }
            _ => self.define(start, name, value),
        }
    }

    fn known_contents(&mut self, name: &Arc<str>, at: usize, stated: &Type) -> Result<(), Diagnostic> {
        if let Some(data) = self.module.constants.get(name) {
            let given = Type::new(data.dtype, data.shape.iter().map(|extent| *extent as i64));
            if given != *stated {
                return Err(self.scan.error_at(at, format!("the constant @{name} is {given}, not {stated}")));
            }
        } else {
            let data = self.made_up(at, stated, literal::seed_of(name))?;
            self.module.constants.insert(name.clone(), data);
            self.without_contents.push(name.clone());
        }
        Ok(())
    }

    fn operands(&mut self) -> Result<Vec<ValueId>, Diagnostic> {
        self.scan.expect("(")?;
        let mut operands = Vec::new();
        if self.scan.eat(")") {
            return Ok(operands);
        }
        loop {
            operands.push(self.value()?);
            if self.scan.eat(")") {
                return Ok(operands);
            }
            self.scan.expect(",")?;
        }
    }

    fn value(&mut self) -> Result<ValueId, Diagnostic> {
        let start = self.scan.position();
        self.scan.expect("%")?;
        let name = self.scan.name("a value's name")?;
        let known = self.values.get(&name).copied();
        known.ok_or_else(|| self.scan.error_at(start, format!("there is no value %{name} before this")))
    }

    fn origin_is_next(&mut self) -> bool {
        let rest = self.scan.rest();
        let keyword = |word: &str, then: fn(char) -> bool| {
            rest.strip_prefix(word)
                .is_some_and(|after| after.trim_start() != after && after.trim_start().starts_with(then))
        };
        keyword("at", |c| c == '"') || keyword("in", |c| c == '"') || keyword("via", scan::is_name)
    }

    /// `at "node" in "file" via pass`, each optional.
    fn origin(&mut self) -> Result<Origin, Diagnostic> {
        let mut origin = Origin::default();
        if self.scan.eat("at") {
            origin.node = Some(self.scan.quoted()?.into());
        }
        if self.scan.eat("in") {
            origin.file = Some(self.scan.quoted()?.into());
        }
        if self.scan.eat("via") {
            origin.pass = Some(expression::pass(&mut self.scan)?);
        }
        Ok(origin)
    }

    /// `"y" %1, %2`: an output without a name is called as its value.
    fn outputs(&mut self) -> Result<(), Diagnostic> {
        while !self.scan.rest().starts_with('}') {
            let start = self.scan.position();
            let name = if self.scan.rest().starts_with('"') { Some(self.scan.quoted()?) } else { None };
            let value = self.value()?;
            let name = name.unwrap_or_else(|| {
                let known = self.values.iter().find(|(_, known)| **known == value);
                known.expect("the value was just found").0.clone()
            });
            if self.module.graph.outputs.contains_key(name.as_str()) {
                return Err(self.scan.error_at(start, format!("a second output is called {name:?}")));
            }
            self.module.output(&name, value);
            if !self.scan.eat(",") {
                break;
            }
        }
        Ok(())
    }
}

/// One element of a literal, with its position.
fn element(scan: &mut Scanner) -> Result<(usize, String), Diagnostic> {
    let start = scan.position();
    let sign = if scan.eat("-") { "-" } else { "" };
    match scan.number().or_else(|| scan.identifier()) {
        Some(text) => Ok((start, format!("{sign}{text}"))),
        None => Err(scan.expected("a number")),
    }
}

/// `name`, kept for the life of the process: a pass's name is static.
fn interned(name: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(known) = known.get(name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.into());
    known.insert(kept);
    kept
}
