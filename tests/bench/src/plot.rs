//! Charts as SVG text: horizontal bars on a logarithmic axis, and lines over two axes.
//!
//! Every color is set, the background's too, so that a chart looks the same on a light page and on a dark one.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const INK: &str = "#1f2328";
const FAINT: &str = "#d0d7de";
const OURS: &str = "#b7410e";
const OTHERS: &str = "#6e7781";
/// The colors of lines, in order.
const LINES: [&str; 6] = ["#b7410e", "#0969da", "#1a7f37", "#8250df", "#9a6700", "#6e7781"];
/// Room for the title.
const TOP: f64 = 44.0;
/// Room for the axis below.
const BOTTOM: f64 = 44.0;

/// A bar of a chart.
#[derive(Debug, Clone)]
pub struct Bar {
    /// The bar's name.
    pub label: String,
    /// The bar's length, greater than 0.
    pub value: f64,
    /// True for our own bars, which stand out.
    pub ours: bool,
}

/// A line of a chart.
#[derive(Debug, Clone)]
pub struct Line {
    /// The line's name.
    pub name: String,
    /// The points from left to right.
    pub points: Vec<(f64, f64)>,
}

/// An axis of a chart.
#[derive(Debug, Clone, Copy)]
pub struct Axis<'a> {
    /// The axis's quantity, with its unit.
    pub label: &'a str,
    /// True for a logarithmic axis. All its values must be greater than 0.
    pub log: bool,
}

/// Draws horizontal bars, each with its value, on a logarithmic axis.
#[must_use]
pub fn bars(title: &str, axis: &str, bars: &[Bar]) -> String {
    let (left, right, pitch) = (190.0, 80.0, 26.0);
    let scale = Scale::over(bars.iter().map(|bar| bar.value / 1.5).chain(bars.iter().map(|bar| bar.value)), true);
    let x = |value: f64| left + scale.place(value) * (WIDTH - left - right);
    let mut y = TOP;
    let bottom = TOP + pitch * count(bars.len());
    let mut chart = Chart::new(title, bottom + BOTTOM);
    for tick in scale.ticks() {
        chart.line((x(tick), TOP), (x(tick), bottom), FAINT);
        chart.text((x(tick), bottom + 16.0), "middle", INK, &number(tick));
    }
    chart.text((left, bottom + 34.0), "start", INK, axis);
    for Bar { label, value, ours } in bars {
        let (width, color) = (x(*value) - left, if *ours { OURS } else { OTHERS });
        chart.text((left - 8.0, y + 17.0), "end", INK, label);
        chart.add(&format!(r#"<rect x="{left}" y="{:.1}" width="{width:.1}" height="18" fill="{color}"/>"#, y + 4.0));
        chart.text((x(*value) + 6.0, y + 17.0), "start", INK, &number(*value));
        y += pitch;
    }
    chart.end()
}

/// Draws lines, each with its name at its end.
#[must_use]
pub fn lines(title: &str, across: Axis<'_>, up: Axis<'_>, lines: &[Line]) -> String {
    let (left, right, height) = (64.0, WIDTH - 150.0, 300.0);
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (horizontal, vertical) =
        (Scale::over(all().map(|(x, _)| x), across.log), Scale::over(all().map(|(_, y)| y), up.log));
    let x = |value: f64| left + horizontal.place(value) * (right - left);
    let y = |value: f64| TOP + 16.0 + (1.0 - vertical.place(value)) * height;
    let bottom = TOP + 16.0 + height;
    let mut chart = Chart::new(title, bottom + BOTTOM);
    chart.text((12.0, TOP + 4.0), "start", INK, up.label);
    for tick in vertical.ticks() {
        chart.line((left, y(tick)), (right, y(tick)), FAINT);
        chart.text((left - 6.0, y(tick) + 4.0), "end", INK, &number(tick));
    }
    for tick in horizontal.ticks() {
        chart.line((x(tick), y(vertical.high)), (x(tick), bottom), FAINT);
        chart.text((x(tick), bottom + 16.0), "middle", INK, &number(tick));
    }
    chart.text((left, bottom + 34.0), "start", INK, across.label);
    let mut names = Vec::new();
    for (line, color) in lines.iter().zip(LINES.iter().cycle()) {
        let mut path = String::new();
        for &(px, py) in &line.points {
            let _ = write!(path, "{:.1},{:.1} ", x(px), y(py));
            chart.add(&format!(r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{color}"/>"#, x(px), y(py)));
        }
        chart
            .add(&format!(r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="2"/>"#, path.trim_end()));
        if let Some(&(px, py)) = line.points.last() {
            names.push((x(px) + 8.0, y(py) + 4.0, color, &line.name));
        }
    }
    // Names of lines that end close to each other are placed below each other.
    names.sort_by(|one, other| one.1.total_cmp(&other.1));
    let mut free = f64::MIN;
    for (x, y, color, name) in names {
        let y = y.max(free);
        chart.text((x, y), "start", color, name);
        free = y + 13.0;
    }
    chart.end()
}

/// The positions of values between the ends of an axis.
struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// Returns a scale. A logarithmic one covers the range of its values, and a linear one starts at 0.
    fn over(values: impl Iterator<Item = f64> + Clone, log: bool) -> Self {
        let high = values.clone().fold(f64::MIN, f64::max);
        let low = if log { values.fold(f64::MAX, f64::min) } else { 0.0 };
        // A single value needs a position too.
        Self { low, high: if high > low { high } else { low + 1.0 }, log }
    }

    fn place(&self, value: f64) -> f64 {
        let [low, high, value] = [self.low, self.high, value].map(|value| if self.log { value.ln() } else { value });
        (value - low) / (high - low)
    }

    /// Returns the ticks. On a logarithmic scale, they are 1, 2 and 5 times each power of ten, or only the powers if
    /// there are enough. On a linear scale, they are at most six round numbers.
    fn ticks(&self) -> Vec<f64> {
        let rounds = |power: i32| [1.0, 2.0, 5.0].map(|round| round * 10_f64.powi(power));
        let all = || (-9..10).flat_map(rounds);
        let within = |value: &f64| (self.low..=self.high * 1.000_001).contains(value);
        if !self.log {
            let step = all().find(|step| self.high / step <= 6.0).unwrap_or(self.high);
            return (0..=6).map(|number| f64::from(number) * step).filter(within).collect();
        }
        let powers: Vec<f64> = (-9..10).map(|power| 10_f64.powi(power)).filter(within).collect();
        if powers.len() > 2 { powers } else { all().filter(within).collect() }
    }
}

/// The growing text of a chart.
struct Chart(String);

impl Chart {
    fn new(title: &str, height: f64) -> Self {
        let mut chart = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"system-ui, sans-serif\" \
             font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" rx=\"6\" fill=\"#ffffff\"/>\n"
        ));
        let (x, y) = (12.0, 26.0);
        chart.add(&format!(
            r#"<text x="{x}" y="{y}" font-size="15" font-weight="600" fill="{INK}">{}</text>"#,
            escaped(title)
        ));
        chart
    }

    fn add(&mut self, element: &str) {
        self.0.push_str(element);
        self.0.push('\n');
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), color: &str) {
        self.add(&format!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{color}"/>"#));
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, color: &str, text: &str) {
        let text = escaped(text);
        self.add(&format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{color}">{text}</text>"#));
    }

    fn end(self) -> String {
        self.0 + "</svg>\n"
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Formats a value briefly.
fn number(value: f64) -> String {
    match value {
        _ if value >= 10_000.0 => format!("{:.0}k", value / 1000.0),
        _ if value >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

/// Converts a count to a coordinate.
fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_value_on_a_logarithmic_axis() {
        let scale = Scale::over([1.0, 100.0].into_iter(), true);
        assert!((scale.place(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(scale.ticks(), [1.0, 10.0, 100.0]);
        let bar = |label: &str, value, ours| Bar { label: label.to_owned(), value, ours };
        let chart = bars("Start", "ms", &[bar("a < b", 2.0, false), bar("ours", 0.5, true)]);
        assert!(chart.contains("a &lt; b") && chart.contains(OURS) && chart.ends_with("</svg>\n"), "{chart}");
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_has_few_round_ticks() {
        let scale = Scale::over([1000.0, 87_000.0].into_iter(), false);
        assert_eq!(scale.ticks(), [0.0, 20_000.0, 40_000.0, 60_000.0, 80_000.0]);
        let line = Line { name: "cards".to_owned(), points: vec![(1.0, 2.0), (2.0, 4.0)] };
        let (across, up) = (Axis { label: "cards", log: false }, Axis { label: "s", log: false });
        let chart = lines("Scale", across, up, &[line]);
        assert!(chart.contains("<polyline") && chart.contains(">cards</text>"), "{chart}");
    }
}
