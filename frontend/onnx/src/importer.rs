//! The walk over a model: inputs, constants, nodes in order, functions and branches inlined, outputs.

use crate::Options;
use crate::bounds::expect_modest_type;
use crate::inputs;
use crate::model::TensorReader;
use crate::node::Node;
use crate::numbers::Numbers;
use crate::ops;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use crate::shape_values;
use drupe_ir::{Diagnostic, Module, Origin, TensorData, ValueId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How deep functions and branches may nest.
const DEPTH: usize = 24;
/// How many nodes an import may visit, functions expanded.
const NODES: usize = 1 << 18;
/// The versions of ONNX's own operators that are known.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// What a name of the model stands for.
#[derive(Clone)]
pub enum Value {
    /// A tensor, with its elements where they are followed.
    Tensor(ValueId, Option<Arc<Numbers>>),
    /// Something that cannot be imported, which matters only if it is read.
    Unavailable(Diagnostic),
}

impl From<ValueId> for Value {
    fn from(id: ValueId) -> Value {
        Value::Tensor(id, None)
    }
}

/// The names visible at one level of nesting.
#[derive(Default)]
pub struct Scope<'a> {
    values: BTreeMap<String, Value>,
    /// The surrounding graph's names; none in functions.
    pub parent: Option<&'a Scope<'a>>,
    /// The versions of operator sets in force.
    pub opsets: Arc<BTreeMap<String, i64>>,
    /// In a function: the attributes of the node that calls it.
    pub attributes: Arc<Vec<AttributeProto>>,
    /// What names of nodes start with, in functions.
    pub prefix: String,
}

impl Scope<'_> {
    /// What `name` stands for, here or further out.
    pub fn find(&self, name: &str) -> Option<&Value> {
        self.values.get(name).or_else(|| self.parent.and_then(|parent| parent.find(name)))
    }

    fn define(&mut self, name: &str, value: Value) -> Result<(), Diagnostic> {
        match name.is_empty() || self.values.insert(name.into(), value).is_none() {
            true => Ok(()),
            false => Err(Diagnostic::new("parse", format!("two values are called {name:?}"))),
        }
    }

    /// A scope inside of this one.
    pub fn inner(&self) -> Scope<'_> {
        Scope {
            values: BTreeMap::new(),
            parent: Some(self),
            opsets: self.opsets.clone(),
            attributes: self.attributes.clone(),
            prefix: self.prefix.clone(),
        }
    }
}

/// An import under way.
pub struct Importer {
    /// What has been imported so far.
    pub module: Module,
    file: Arc<str>,
    reader: TensorReader,
    functions: Arc<Vec<FunctionProto>>,
    functions_by_name: BTreeMap<String, Vec<usize>>,
    nodes: usize,
    depth: usize,
    /// The bound on a symbol that an operator turned out to need.
    pub needed: Option<(Arc<str>, u64)>,
}

/// How many bounds on symbols an import may find to be needed.
const BOUNDS: usize = 8;

/// The module for `model`. Where an operator needs a symbol to be bounded, the import starts again with that.
pub fn import_model(
    name: &str,
    model: ModelProto,
    mut reader: TensorReader,
    options: &Options,
) -> Result<Module, Diagnostic> {
    let mut bounds = BTreeMap::new();
    let functions = Arc::new(model.functions);
    let graph = model.graph.ok_or_else(|| Diagnostic::new("parse", "the model has no graph"))?;
    let opsets = Arc::new(opset_versions(&model.opset_import)?);
    loop {
        let mut importer = Importer::new(name, functions.clone(), reader);
        let result = importer.model(&graph, opsets.clone(), options, &bounds);
        match (result, importer.needed) {
            (Err(_), Some((symbol, max))) if bounds.len() < BOUNDS && !bounds.contains_key(&symbol) => {
                bounds.insert(symbol, max);
                reader = importer.reader;
            }
            (result, _) => return result.map(|()| importer.module),
        }
    }
}
fn opset_versions(imports: &[OperatorSetIdProto]) -> Result<BTreeMap<String, i64>, Diagnostic> {
    let domain = |name: &str| if name == "ai.onnx" { String::new() } else { name.into() };
    let versions: BTreeMap<String, i64> = imports.iter().map(|set| (domain(&set.domain), set.version)).collect();
    match versions.get("") {
        Some(version) if !OPSETS.contains(version) => {
            let (first, last) = (OPSETS.start(), OPSETS.end());
            Err(Diagnostic::new("unsupported", format!("operator set {version}; {first} to {last} are supported"))
                .help("convert the model with onnx.version_converter"))
        }
        Some(_) | None => Ok(versions),
    }
}

impl Importer {
    fn new(name: &str, functions: Arc<Vec<FunctionProto>>, reader: TensorReader) -> Importer {
        let mut functions_by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (position, function) in functions.iter().enumerate() {
            functions_by_name.entry(function.name.clone()).or_default().push(position);
        }
        let module = Module::new(name.strip_suffix(".onnx").unwrap_or(name));
        Importer { module, file: name.into(), reader, functions, functions_by_name, nodes: 0, depth: 0, needed: None }
    }

    fn model(
        &mut self,
        graph: &GraphProto,
        opsets: Arc<BTreeMap<String, i64>>,
        options: &Options,
        bounds: &BTreeMap<Arc<str>, u64>,
    ) -> Result<(), Diagnostic> {
        let mut scope = Scope { opsets, ..Scope::default() };
        let constants: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        for (name, input) in inputs::inputs(graph, &constants, options)? {
            let value = match input {
                inputs::Input::Tensor(ty) => {
                    expect_modest_type(&ty)?;
                    self.module.input(&name, ty)?.into()
                }
                inputs::Input::Fixed(numbers) => self.known(numbers, &name, &Origin::default())?,
            };
            scope.define(&name, value)?;
        }
        for (symbol, max) in bounds {
            if let Some(range) = self.module.symbols.get_mut(symbol) {
                range.max = range.max.min(*max);
            }
        }
        let outputs = self.graph(graph, &mut scope)?;
        for (info, value) in graph.output.iter().zip(outputs) {
            if self.module.graph.outputs.contains_key(info.name.as_str()) {
                return Err(Diagnostic::new("parse", format!("two outputs are called {:?}", info.name)));
            }
            match value {
                Value::Tensor(id, _) => self.module.output(&info.name, id),
                Value::Unavailable(why) => return Err(why),
            }
        }
        self.module.remove_dead();
        self.module.verify()
    }

    /// Imports the constants and nodes of `graph` into `scope`; what its outputs are.
    pub fn graph(&mut self, graph: &GraphProto, scope: &mut Scope) -> Result<Vec<Value>, Diagnostic> {
        for tensor in &graph.initializer {
            let value = match self.reader.read(tensor) {
                Ok(data) => self.constant(&tensor.name, data),
                Err(why) => Value::Unavailable(why),
            };
            scope.define(&tensor.name, value)?;
        }
        for sparse in &graph.sparse_initializer {
            let name = sparse.values.as_ref().map_or("", |values| values.name.as_str());
            scope.define(name, Value::Unavailable(Diagnostic::new("unsupported", "sparse constants")))?;
        }
        self.nodes(&graph.node, scope)?;
        graph.output.iter().map(|output| find(scope, &output.name)).collect()
    }

    fn nodes(&mut self, nodes: &[NodeProto], scope: &mut Scope) -> Result<(), Diagnostic> {
        for (index, proto) in nodes.iter().enumerate() {
            self.nodes += 1;
            if self.nodes > NODES {
                return Err(Diagnostic::new("parse", format!("more than {NODES} nodes, functions expanded")));
            }
            let label = match proto.name.as_str() {
                "" => format!("{}{}#{index}", scope.prefix, proto.op_type),
                name => format!("{}{name}", scope.prefix),
            };
            let origin = Origin::imported(&self.file, &label);
            let locate = |error: Diagnostic| if error.origins.is_empty() { error.at(&origin) } else { error };
            let values = self.node(proto, scope, &label, &origin).map_err(locate)?;
            for (output, name) in proto.output.iter().enumerate() {
                let value = values.get(output).cloned().unwrap_or_else(|| {
                    let what = format!("output {output} of {} {}", proto.op_type, scope.prefix);
                    Value::Unavailable(Diagnostic::new("unsupported", what.trim()).at(&origin))
                });
                scope.define(name, value).map_err(locate)?;
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        proto: &NodeProto,
        scope: &Scope,
        label: &str,
        origin: &Origin,
    ) -> Result<Vec<Value>, Diagnostic> {
        let mut inputs = Vec::new();
        for name in &proto.input {
            inputs.push(match name.as_str() {
                "" => None,
                name => Some(find(scope, name)?),
            });
        }
        let functions = self.functions.clone();
        let same_name = self.functions_by_name.get(&proto.op_type).into_iter().flatten();
        let called = same_name
            .map(|position| &functions[*position])
            .find(|function| function.domain == proto.domain && function.overload == proto.overload);
        if let Some(function) = called {
            return self.nested(|importer| importer.call(function, proto, scope, inputs, label));
        }
        let mut node = Node::new(self, proto, scope, inputs, label, origin.clone());
        if let Some(known) = shape_values::evaluate(&mut node)? {
            return Ok(known);
        }
        ops::import(&mut node)
    }

    /// Runs `import` one level deeper.
    pub fn nested<T>(&mut self, import: impl FnOnce(&mut Importer) -> Result<T, Diagnostic>) -> Result<T, Diagnostic> {
        if self.depth == DEPTH {
            return Err(Diagnostic::new("parse", format!("functions or branches nest deeper than {DEPTH}")));
        }
        self.depth += 1;
        let result = import(self);
        self.depth -= 1;
        result
    }

    fn call(
        &mut self,
        function: &FunctionProto,
        call: &NodeProto,
        scope: &Scope,
        inputs: Vec<Option<Value>>,
        label: &str,
    ) -> Result<Vec<Value>, Diagnostic> {
        let resolved = |attribute: &AttributeProto| resolve(attribute, &scope.attributes).cloned();
        let mut attributes: Vec<AttributeProto> = Vec::new();
        for attribute in &call.attribute {
            if let Some(found) = resolved(attribute) {
                attributes.push(AttributeProto { name: attribute.name.clone(), ..found });
            }
        }
        for default in &function.attribute_proto {
            if !attributes.iter().any(|attribute| attribute.name == default.name) {
                attributes.push(default.clone());
            }
        }
        let mut opsets = opset_versions(&function.opset_import)?;
        for (domain, version) in scope.opsets.iter() {
            opsets.entry(domain.clone()).or_insert(*version);
        }
        let mut inner = Scope {
            opsets: Arc::new(opsets),
            attributes: Arc::new(attributes),
            prefix: format!("{label}/"),
            ..Scope::default()
        };
        if inputs.len() > function.input.len() {
            let (have, takes) = (inputs.len(), function.input.len());
            return Err(Diagnostic::new("parse", format!("{have} inputs for {}, which takes {takes}", function.name)));
        }
        for (name, value) in function.input.iter().zip(inputs) {
            if let Some(value) = value {
                inner.define(name, value)?;
            }
        }
        self.nodes(&function.node, &mut inner)?;
        function.output.iter().map(|name| find(&inner, name)).collect()
    }

    /// The constant `data` as a value, called `name` if that is free.
    pub fn constant(&mut self, name: &str, data: TensorData) -> Value {
        let numbers = Numbers::of(&data).map(Arc::new);
        Value::Tensor(self.module.constant(name, data), numbers)
    }

    /// A tensor whose elements are known.
    pub fn known(&mut self, numbers: Numbers, name: &str, origin: &Origin) -> Result<Value, Diagnostic> {
        let id = numbers.materialise(&mut self.module, name, origin);
        let id = id.ok_or_else(|| Diagnostic::new("unsupported", format!("{name:?}, which is {numbers:?}")))?;
        Ok(Value::Tensor(id, Some(Arc::new(numbers))))
    }

    /// The contents of a tensor in an attribute.
    pub fn read(&mut self, tensor: &crate::proto::TensorProto) -> Result<TensorData, Diagnostic> {
        self.reader.read(tensor)
    }
}

fn find(scope: &Scope, name: &str) -> Result<Value, Diagnostic> {
    let missing = || {
        Diagnostic::new("parse", format!("no value called {name:?} has been computed before it is used"))
            .help("nodes must be in topological order")
    };
    scope.find(name).cloned().ok_or_else(missing)
}

/// The attribute that `attribute` is, or refers to: one of `outer`, the attributes of the calling node.
pub fn resolve<'a>(attribute: &'a AttributeProto, outer: &'a [AttributeProto]) -> Option<&'a AttributeProto> {
    match attribute.ref_attr_name.as_str() {
        "" => Some(attribute),
        name => outer.iter().find(|other| other.name == name),
    }
}
