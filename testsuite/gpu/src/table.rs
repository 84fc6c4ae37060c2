//! Statistics as a table.

use crate::Statistics;
use std::fmt::Write;

/// A column: its head, and the figure.
type Column = (&'static str, fn(&Statistics) -> u64);

const COLUMNS: &[Column] = &[
    ("lanes", |found| found.subgroup_size.into()),
    ("VGPRs", |found| found.vgprs),
    ("SGPRs", |found| found.sgprs),
    ("spilled VGPRs", |found| found.spilled_vgprs),
    ("spilled SGPRs", |found| found.spilled_sgprs),
    ("scratch", |found| found.scratch_bytes),
    ("workgroup memory", |found| found.lds_bytes),
    ("code", |found| found.code_bytes),
    ("instructions", |found| found.instructions),
    ("subgroups", |found| found.subgroups_per_simd),
    ("latency", |found| found.latency),
    ("inverse throughput", |found| found.inverse_throughput),
];

/// A Markdown table with a row for each shader.
#[must_use]
pub fn table(statistics: &[Statistics]) -> String {
    let heads = std::iter::once("shader".to_string()).chain(COLUMNS.iter().map(|(head, _)| head.to_string()));
    let mut rows = vec![heads.collect::<Vec<_>>()];
    rows.extend(statistics.iter().map(|found| {
        std::iter::once(found.name.clone()).chain(COLUMNS.iter().map(|(_, figure)| figure(found).to_string())).collect()
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            let rules = widths.iter().enumerate().map(|(column, width)| match column {
                0 => "-".repeat(*width),
                _ => format!("{}:", "-".repeat(width - 1)),
            });
            let _ = writeln!(text, "| {} |", rules.collect::<Vec<_>>().join(" | "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let found = Statistics { name: "add".into(), vgprs: 12, ..Statistics::default() };
        let text = table(&[found]);
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths.len(), 3);
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{text}");
        assert!(text.contains("|    12 |"), "{text}");
    }
}
