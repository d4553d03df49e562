//! Plots as SVG text: latency by percentile, and throughput over time.
//!
//! Invariants
//! 1. A plot names its axes with their units and says which way is better, so it needs no legend beside it.
//! 2. Where there is nothing to draw, there is no plot.

use super::words;
use hdrhistogram::Histogram;
use plotters::prelude::*;

const SIZE: (u32, u32) = (760, 300);
const LABEL: (&str, u32) = ("sans-serif", 13);
/// Told apart also by those who see colours differently.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 50, 32),
    RGBColor(230, 159, 0),
    RGBColor(0, 128, 96),
    RGBColor(135, 80, 160),
    RGBColor(90, 90, 90),
];
/// Percentiles of the latency plot: its x axis gives each the same room.
const PERCENTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0];
/// Points of a line over time at most.
const POINTS_MAX: usize = 300;

/// A named line of points.
pub type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// Latency by percentile, logarithmic; one line an engine.
pub fn latency(histograms: &[(&str, Histogram<u64>)]) -> Option<String> {
    let lines: Vec<Line<'_>> = histograms
        .iter()
        .filter(|(_, histogram)| !histogram.is_empty())
        .map(|(engine, histogram)| {
            let point = |(at, percentile): (usize, &f64)| {
                (at as f64, histogram.value_at_percentile(*percentile).max(1) as f64)
            };
            (*engine, PERCENTILES.iter().enumerate().map(point).collect())
        })
        .collect();
    let values = || lines.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(0.0, f64::max);
    if lines.is_empty() {
        return None;
    }
    let mut svg = String::new();
    draw_latency(&mut svg, &lines, low / 1.3, high * 1.3).ok()?;
    Some(svg)
}

fn draw_latency(svg: &mut String, lines: &[Line<'_>], low: f64, high: f64) -> Result<(), Failed> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let last = (PERCENTILES.len() - 1) as f64;
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .margin_right(30)
        .x_label_area_size(38)
        .y_label_area_size(76)
        .build_cartesian_2d(0.0..last, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .y_labels(6)
        .x_labels(PERCENTILES.len())
        .x_label_formatter(&|at| {
            let percentile = PERCENTILES.get(at.round() as usize).copied().unwrap_or(0.0);
            if percentile == 0.0 { "fastest".into() } else { format!("{percentile} %") }
        })
        .y_label_formatter(&|ns| words::nanoseconds(*ns))
        .x_desc("share of operations that took at most as long")
        .y_desc("latency, lower is better")
        .label_style(LABEL)
        .axis_desc_style(LABEL)
        .draw()?;
    draw_lines(&mut chart, lines)?;
    area.present()?;
    Ok(())
}

/// Operations per second over time; one line an engine.
pub fn throughput(lines: &[Line<'_>]) -> Option<String> {
    over_time(lines, "1/s", "operations, higher is better")
}

/// Anything over time, as `what` says; one line an engine.
pub fn over_time(lines: &[Line<'_>], unit: &str, what: &str) -> Option<String> {
    let lines: Vec<Line<'_>> = lines
        .iter()
        .filter(|(_, points)| points.len() > 1)
        .map(|(engine, points)| (*engine, thinned(points)))
        .collect();
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (seconds, most) =
        points().fold((0.0, 0.0), |(x, y): (f64, f64), point| (x.max(point.0), y.max(point.1)));
    if seconds <= 0.0 || most <= 0.0 {
        return None;
    }
    let mut svg = String::new();
    draw_over_time(&mut svg, &lines, (seconds, most * 1.1), (unit, what)).ok()?;
    Some(svg)
}

fn draw_over_time(
    svg: &mut String,
    lines: &[Line<'_>],
    (seconds, most): (f64, f64),
    (unit, what): (&str, &str),
) -> Result<(), Failed> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .margin_right(30)
        .x_label_area_size(38)
        .y_label_area_size(76)
        .build_cartesian_2d(0.0..seconds, 0.0..most)?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .y_labels(6)
        .x_label_formatter(&|at| words::plain(*at))
        .y_label_formatter(&|value| words::amount(*value, unit))
        .x_desc("seconds")
        .y_desc(what)
        .label_style(LABEL)
        .axis_desc_style(LABEL)
        .draw()?;
    draw_lines(&mut chart, lines)?;
    area.present()?;
    Ok(())
}

type Failed = Box<dyn std::error::Error>;

fn draw_lines<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    lines: &[Line<'_>],
) -> Result<(), Failed>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for (place, (engine, points)) in lines.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(*engine)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .label_font(LABEL)
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

/// At most so many points, each the mean of those it stands for.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(POINTS_MAX).max(1);
    let mean = |part: &[(f64, f64)]| {
        let sum = part.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / part.len() as f64, sum.1 / part.len() as f64)
    };
    points.chunks(step).map(mean).collect()
}
