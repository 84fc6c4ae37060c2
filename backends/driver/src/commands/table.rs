//! Tables of text: columns as wide as their widest cell, numbers to the right.

/// Rows of `N` cells under a heading.
pub(crate) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(crate) fn new(heading: [&str; N]) -> Table<N> {
        Table { rows: vec![heading.map(str::to_owned)] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The table, indented by two, without spaces at the ends of lines.
    pub(crate) fn text(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..N).map(width).collect();
        let numeric = |column: usize| {
            let number = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-') || cell.is_empty();
            self.rows.len() > 1 && self.rows[1..].iter().all(|row| number(&row[column]))
        };
        let right: Vec<bool> = (0..N).map(numeric).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                line += "  ";
                line += &if right[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}
