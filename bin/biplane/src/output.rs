//! stdout is data: one document in the form that was asked for.

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;
use status::doc::API_VERSION;

/// How a document is printed.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct OutputArgs {
    /// Form of the output
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Show it again whenever it changes
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Leave out the headers of tables
    #[arg(long)]
    pub(crate) no_headers: bool,
}

/// Form of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// The same with more columns
    Wide,
    /// The whole document
    Json,
    /// An item a line
    Jsonl,
    /// The whole document
    Yaml,
    /// Names alone
    Name,
}

/// A table, the short way to its rows' names, and what goes around it.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Header and whether it is shown with `-o wide` only.
    pub(crate) columns: Vec<(&'static str, bool)>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// A field of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// What a colour says, where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
}

impl Cell {
    pub(crate) fn toned(text: impl ToString, tone: Tone) -> Cell {
        Cell { text: text.to_string(), tone }
    }

    /// Good or bad.
    pub(crate) fn judged(text: impl ToString, good: bool) -> Cell {
        Cell::toned(text, if good { Tone::Good } else { Tone::Bad })
    }
}

/// `text`, or a dash where there is nothing to say.
pub(crate) fn cell(text: impl ToString) -> Cell {
    let text = text.to_string();
    Cell { text: if text.is_empty() { "-".to_owned() } else { text }, tone: Tone::Plain }
}

/// As [`cell`], of what may be unknown.
pub(crate) fn maybe<T: ToString>(text: Option<T>) -> Cell {
    cell(text.map(|it| it.to_string()).unwrap_or_default())
}

/// All of them, joined by commas.
pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> Cell {
    cell(joined(items))
}

/// All of them, joined by commas.
pub(crate) fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|it| it.to_string()).collect::<Vec<_>>().join(",")
}

impl Table {
    pub(crate) fn new(columns: &[&'static str], wide: &[&'static str]) -> Table {
        let columns = columns.iter().map(|name| (*name, false)).chain(wide.iter().map(|name| (*name, true)));
        Table { columns: columns.collect(), rows: Vec::new() }
    }

    /// As kubectl prints: columns as wide as their widest field, three spaces between, no line ends in spaces. Nothing at
    /// all without rows.
    pub(crate) fn render(&self, wide: bool, headers: bool, colour: bool) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let shown: Vec<usize> = (0..self.columns.len()).filter(|at| wide || !self.columns[*at].1).collect();
        let head: Vec<Cell> = self.columns.iter().map(|(name, _)| Cell::toned(name, Tone::Plain)).collect();
        let lines = || headers.then_some(&head).into_iter().chain(&self.rows);
        let width = |at: &usize| lines().filter_map(|row| row.get(*at)).map(|it| it.text.chars().count()).max();
        let widths: Vec<usize> = shown.iter().map(|at| width(at).unwrap_or_default()).collect();
        let mut out = String::new();
        for row in lines() {
            let last = shown.len().saturating_sub(1);
            for (nth, (at, width)) in shown.iter().zip(&widths).enumerate() {
                let Some(field) = row.get(*at) else { continue };
                let pad = if nth == last { 0 } else { width + 3 - field.text.chars().count() };
                out.push_str(&paint(&field.text, field.tone, colour));
                out.extend(std::iter::repeat_n(' ', pad));
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        out
    }
}

/// A block of `Name: value` lines, the values under each other. A value with several lines is indented.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    lines: Vec<(&'static str, Vec<Cell>)>,
}

impl Sheet {
    pub(crate) fn line(&mut self, name: &'static str, value: Cell) {
        self.lines.push((name, vec![value]));
    }

    /// Several values under one name; nothing at all if there are none.
    pub(crate) fn lines(&mut self, name: &'static str, values: Vec<Cell>) {
        if !values.is_empty() {
            self.lines.push((name, values));
        }
    }

    pub(crate) fn render(&self, colour: bool) -> String {
        let width = self.lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 4;
        let mut out = String::new();
        for (name, values) in &self.lines {
            for (nth, value) in values.iter().enumerate() {
                let name = if nth == 0 { format!("{name}:") } else { String::new() };
                out.push_str(&format!("{name:<width$}{}\n", paint(&value.text, value.tone, colour)));
            }
        }
        out
    }
}

fn paint(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Warn => "33",
        Tone::Bad => "31",
        Tone::Plain => return text.to_owned(),
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// What can be shown in every form.
pub(crate) struct Page<'a> {
    /// The whole document, its `apiVersion` and `kind` in it.
    pub(crate) whole: Box<dyn erased::Json + 'a>,
    /// Its items; the whole again if it is one thing.
    pub(crate) items: Vec<Box<dyn erased::Json + 'a>>,
    /// `node/n1`.
    pub(crate) names: Vec<String>,
    /// For people.
    pub(crate) body: Body,
}

/// What people see.
pub(crate) enum Body {
    Table(Table),
    Sheet(Sheet),
    Text(String),
    /// A sheet, then tables under titles; empty ones are left out.
    Parts(Sheet, Vec<(&'static str, Table)>),
}

impl Page<'_> {
    /// The page as text.
    pub(crate) fn render(&self, args: &OutputArgs, colour: bool) -> io::Result<String> {
        let wide = args.output == Format::Wide;
        Ok(match args.output {
            Format::Table | Format::Wide => self.body.render(wide, !args.no_headers, colour),
            Format::Json => self.whole.pretty()? + "\n",
            Format::Yaml => self.whole.yaml()?,
            Format::Jsonl => self.items.iter().map(|item| Ok(item.line()? + "\n")).collect::<io::Result<String>>()?,
            Format::Name => self.names.iter().map(|name| format!("{name}\n")).collect(),
        })
    }
}

impl Body {
    fn render(&self, wide: bool, headers: bool, colour: bool) -> String {
        match self {
            Body::Table(table) => table.render(wide, headers, colour),
            Body::Sheet(sheet) => sheet.render(colour),
            Body::Text(text) => text.clone(),
            Body::Parts(sheet, tables) => {
                let mut out = sheet.render(colour);
                for (title, table) in tables.iter().filter(|(_, table)| !table.rows.is_empty()) {
                    out.push_str(&format!("\n{title}:\n"));
                    out.extend(table.render(wide, headers, colour).lines().map(|line| format!("  {line}\n")));
                }
                out
            }
        }
    }
}

/// One item as a document of its own.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Single<T> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    pub(crate) item: T,
}

impl<T> Single<T> {
    pub(crate) fn new(kind: &'static str, item: T) -> Single<T> {
        Single { api_version: API_VERSION, kind, item }
    }
}

pub(crate) mod erased {
    use std::io;

    use serde::Serialize;

    /// Serialises itself; object-safe, and keeps the order of the fields.
    pub(crate) trait Json {
        fn line(&self) -> io::Result<String>;
        fn pretty(&self) -> io::Result<String>;
        fn yaml(&self) -> io::Result<String>;
    }

    impl<T: Serialize> Json for T {
        fn line(&self) -> io::Result<String> {
            Ok(serde_json::to_string(self)?)
        }

        fn pretty(&self) -> io::Result<String> {
            Ok(serde_json::to_string_pretty(self)?)
        }

        fn yaml(&self) -> io::Result<String> {
            serde_saphyr::to_string(self).map_err(io::Error::other)
        }
    }
}

/// Are there colours on stdout? Not when it is no terminal, and not against NO_COLOR (no-color.org).
pub(crate) fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes to stdout at once.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// `1 route`, `2 routes`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Seconds as people say them: `12s`, `3m4s`, `2h5m`, `3d4h`.
pub(crate) fn age(seconds: f64) -> String {
    let whole = if seconds.is_finite() && seconds > 0.0 { seconds as u64 } else { 0 };
    let two = |large: u64, unit: char, small: u64, of: char| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{of}"),
    };
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => two(whole / 60, 'm', whole % 60, 's'),
        3600..86_400 => two(whole / 3600, 'h', whole % 3600 / 60, 'm'),
        _ => two(whole / 86_400, 'd', whole % 86_400 / 3600, 'h'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "STATE"], &["MORE"]);
        table.rows.push(vec![cell("n1"), Cell::judged("up", true), cell("")]);
        table.rows.push(vec![cell("a-longer-name"), Cell::judged("down", false), cell("x")]);
        table
    }

    #[test]
    fn tables_are_kubectls() {
        assert_eq!(
            table().render(false, true, false),
            "NAME            STATE\nn1              up\na-longer-name   down\n"
        );
        assert_eq!(table().render(true, false, false), "n1              up     -\na-longer-name   down   x\n");
        assert!(table().render(false, true, true).contains("\x1b[31mdown\x1b[0m"));
    }

    #[test]
    fn ages() {
        for (seconds, words) in [
            (-1.0, "0s"),
            (0.9, "0s"),
            (59.0, "59s"),
            (60.0, "1m"),
            (184.0, "3m4s"),
            (7500.0, "2h5m"),
            (273_600.0, "3d4h"),
        ] {
            assert_eq!(age(seconds), words);
        }
    }
}
