//! Tables that fit the terminal: what is too wide is shortened, what matters least is left out.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Row, Table, Width};

/// The space between two columns.
const GAP: u16 = 2;

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    title: &'static str,
    /// It may be shortened to this width; not at all without one.
    shortest: Option<u16>,
    /// Where space is short the column with the greatest rank goes first; one without rank stays.
    rank: Option<u8>,
}

impl Column {
    /// A column that is always shown whole.
    pub(super) const fn new(title: &'static str) -> Self {
        Self { title, shortest: None, rank: None }
    }

    /// Lets it be shortened.
    pub(super) const fn at_least(mut self, width: u16) -> Self {
        self.shortest = Some(width);
        self
    }

    /// Lets it be left out.
    pub(super) const fn rank(mut self, rank: u8) -> Self {
        self.rank = Some(rank);
        self
    }
}

/// Lays a table out for a terminal of `width` columns, or for no terminal.
pub(super) fn render(
    columns: &[Column],
    rows: Vec<Vec<Cell>>,
    width: Option<u16>,
    colour: bool,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    if colour {
        table.enforce_styling();
    }
    table.set_header(columns.iter().map(|column| column.title));
    for cells in rows {
        let mut row = Row::from(cells);
        row.max_height(1);
        table.add_row(row);
    }
    table.set_truncation_indicator("…");
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    if let Some(width) = width {
        let natural = table.column_max_content_widths();
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(u16::MAX);
        for (column, fitted) in table.column_iter_mut().zip(fit(columns, &natural, width)) {
            column.set_constraint(match fitted {
                Some(width) => ColumnConstraint::Absolute(Width::Fixed(width + GAP)),
                None => ColumnConstraint::Hidden,
            });
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Returns the width of each column; none for those that are left out.
fn fit(columns: &[Column], natural: &[u16], width: u16) -> Vec<Option<u16>> {
    let mut left_out: Vec<usize> = Vec::new();
    loop {
        let shown = |index: &usize| !left_out.contains(index);
        let indices: Vec<usize> = (0..columns.len()).filter(shown).collect();
        let mut widths = natural.to_vec();
        let total = |widths: &[u16]| {
            let gaps = GAP * u16::try_from(indices.len().saturating_sub(1)).unwrap_or(0);
            indices.iter().map(|index| widths[*index]).sum::<u16>() + gaps
        };
        // The widest gives first, a column at a time, so that all end about equally wide.
        while total(&widths) > width {
            let can_give = |index: &&usize| {
                columns[**index].shortest.is_some_and(|shortest| widths[**index] > shortest)
            };
            match indices.iter().filter(can_give).max_by_key(|index| widths[**index]) {
                Some(&widest) => widths[widest] -= 1,
                None => break,
            }
        }
        let fits = total(&widths) <= width;
        let least = indices.iter().filter(|index| columns[**index].rank.is_some());
        match least.max_by_key(|index| columns[**index].rank) {
            Some(&index) if !fits => left_out.push(index),
            _ => {
                let shown = |index: usize| indices.contains(&index).then(|| widths[index]);
                return (0..columns.len()).map(shown).collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::new("ID"),
        Column::new("STATUS"),
        Column::new("PROJECT").at_least(6).rank(1),
        Column::new("REF").at_least(6).rank(2),
    ];

    fn table(width: Option<u16>) -> String {
        let rows = [
            ["fix-login-a1b2", "running", "a-project-with-a-long-name", "feature/日本語-the-login"],
            ["x", "stopped", "y", "main"],
        ];
        let rows = rows.iter().map(|row| row.iter().map(Cell::new).collect()).collect();
        render(&COLUMNS, rows, width, false)
    }

    #[test]
    fn no_terminal_shortens_nothing() {
        insta::assert_snapshot!(table(None), @r"
        ID              STATUS   PROJECT                     REF
        fix-login-a1b2  running  a-project-with-a-long-name  feature/日本語-the-login
        x               stopped  y                           main
        ");
    }

    #[test]
    fn a_wide_terminal_shortens_nothing() {
        assert_eq!(table(Some(200)), table(None));
    }

    #[test]
    fn the_widest_columns_are_shortened() {
        insta::assert_snapshot!(table(Some(60)), @r"
        ID              STATUS   PROJECT            REF
        fix-login-a1b2  running  a-project-with-a…  feature/日本語-…
        x               stopped  y                  main
        ");
    }

    #[test]
    fn what_matters_least_is_left_out() {
        insta::assert_snapshot!(table(Some(36)), @r"
        ID              STATUS   PROJECT
        fix-login-a1b2  running  a-project-…
        x               stopped  y
        ");
    }

    #[test]
    fn what_matters_most_stays() {
        insta::assert_snapshot!(table(Some(10)), @r"
        ID              STATUS
        fix-login-a1b2  running
        x               stopped
        ");
    }
}
