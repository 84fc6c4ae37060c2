//! Expressions as people write them, for messages and `drupe inspect`.

use crate::ExprOp;
use crate::plan::{ArchivedExpr, ArchivedExprId, ArchivedPlan};

/// Deeper expressions end in "..": a hostile plan may nest a million levels.
const MAX_DEPTH: usize = 12;

/// An expression of a verified plan in infix notation over symbol names: `(seq + 1) * 64`.
pub fn describe_expr(plan: &ArchivedPlan, expr: &ArchivedExprId) -> String {
    let mut text = String::new();
    append(plan, expr, 0, &mut text);
    text
}

/// A shape of a verified plan: `[batch, 3, 224, 224]`.
pub fn describe_shape(plan: &ArchivedPlan, shape: &[ArchivedExprId]) -> String {
    let dims: Vec<String> = shape.iter().map(|dim| describe_expr(plan, dim)).collect();
    format!("[{}]", dims.join(", "))
}

fn append(plan: &ArchivedPlan, expr: &ArchivedExprId, depth: usize, text: &mut String) {
    match &plan.exprs[expr.index()] {
        ArchivedExpr::Const(value) => text.push_str(&value.to_native().to_string()),
        ArchivedExpr::Symbol(symbol) => text.push_str(&plan.symbols[symbol.index()].name),
        ArchivedExpr::Binary(..) if depth == MAX_DEPTH => text.push_str(".."),
        ArchivedExpr::Binary(op, lhs, rhs) => {
            let (open, between, close) = match op {
                ExprOp::Add | ExprOp::Sub | ExprOp::Mul | ExprOp::FloorDiv | ExprOp::CeilDiv | ExprOp::Mod => {
                    let parentheses = if depth == 0 { ("", "") } else { ("(", ")") };
                    (parentheses.0.to_owned(), format!(" {op} "), parentheses.1)
                }
                ExprOp::Min | ExprOp::Max => (format!("{op}("), ", ".to_owned(), ")"),
            };
            text.push_str(&open);
            append(plan, lhs, depth + 1, text);
            text.push_str(&between);
            append(plan, rhs, depth + 1, text);
            text.push_str(close);
        }
    }
}
