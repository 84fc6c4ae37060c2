//! Where things come from, and how errors say so.
//!
//! Every node keeps an [`Origin`]: the file and node it was imported from, and the passes that made it
//! what it is. A [`Diagnostic`] is an error with origins; [`Diagnostic`]'s `Display` is the one renderer:
//!
//! ```text
//! error[shape]: matmul inner dimensions 4096 and 4000 differ
//!   --> tiny.onnx node "Gemm_3", via pass decompose-gemm
//!   help: check the weight's second dimension
//! ```

use std::fmt;
use std::sync::Arc;

/// Where a node comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Origin {
    /// The file it was imported from, as the user named it.
    pub file: Option<Arc<str>>,
    /// The node in that file.
    pub node: Option<Arc<str>>,
    /// The last pass that rebuilt it.
    pub pass: Option<&'static str>,
}

impl Origin {
    /// A node of an imported file.
    pub fn imported(file: &Arc<str>, node: &str) -> Origin {
        Origin { file: Some(file.clone()), node: Some(node.into()), pass: None }
    }

    /// The same place, as changed by `pass`.
    pub fn via(&self, pass: &'static str) -> Origin {
        Origin { pass: Some(pass), ..self.clone() }
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Origin::default()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file.as_deref().unwrap_or("<input>"))?;
        if let Some(node) = &self.node {
            write!(f, " node {node:?}")?;
        }
        if let Some(pass) = self.pass {
            write!(f, ", via pass {pass}")?;
        }
        Ok(())
    }
}

/// An error (or warning) with where it came from and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// One word for the family: `shape`, `parse`, `unsupported`, ...
    pub code: &'static str,
    /// What is wrong, with the values.
    pub message: String,
    /// Where.
    pub origins: Vec<Origin>,
    /// The way out.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error of family `code`.
    pub fn new(code: &'static str, message: impl fmt::Display) -> Diagnostic {
        Diagnostic { code, message: message.to_string(), origins: Vec::new(), help: None }
    }

    /// Adds where it happened.
    pub fn at(mut self, origin: &Origin) -> Diagnostic {
        self.origins.push(origin.clone());
        self
    }

    /// Adds the way out.
    pub fn help(mut self, help: impl fmt::Display) -> Diagnostic {
        self.help = Some(help.to_string());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        for origin in &self.origins {
            write!(f, "\n  --> {origin}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
