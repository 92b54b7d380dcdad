//! Tables as kubectl prints them, and JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::lab::Output;
use crate::lab::inspect::Row;

/// One JSON value and a newline.
pub(super) fn json<T: Serialize>(value: &T) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")
}

/// The nodes of labs.
pub(super) fn nodes(labs: &BTreeMap<String, Vec<Row>>) -> io::Result<()> {
    let mut rows = vec![["LAB", "NODE", "KIND", "GROUP", "STATE", "PID"].map(String::from).to_vec()];
    for (lab, nodes) in labs {
        rows.extend(nodes.iter().map(|n| {
            vec![lab.clone(), n.name.clone(), n.kind.clone(), n.group.clone(), n.state.clone(), n.container_id.clone()]
        }));
    }
    io::stdout().write_all(table(&rows).as_bytes())
}

/// What a command did, readable.
pub(super) fn output(node: &str, output: &Output) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !output.is_success() {
        eprintln!("{node}: `{}` ended with {}: {}", output.cmd.join(" "), output.return_code, output.stderr.trim());
    }
    for line in output.stdout.lines() {
        writeln!(out, "{node}: {line}")?;
    }
    Ok(())
}

/// Columns three spaces apart; nothing after the last.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &format!("{cell:<width$}   ");
        }
        text += line.trim_end();
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up_and_lines_end_clean() {
        let rows = [vec!["A".to_string(), "BB".into()], vec!["long".into(), "é".into()], vec!["x".into()]];
        assert_eq!(super::table(&rows), "A      BB\nlong   é\nx\n");
    }
}
