//! What an output may be made to be.

/// What an output must be. Needs the feature `grammar`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// JSON that this schema, itself JSON, describes.
    JsonSchema(String),
    /// A text that this regular expression matches in full.
    Regex(String),
    /// A text that this grammar describes, in the dialect of Lark that `llguidance` documents.
    Lark(String),
}
