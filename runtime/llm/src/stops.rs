//! Stop strings: where a text ends that comes in pieces.

/// Looks for stop strings in a text that comes piece by piece, and holds back only what may be the start of one.
///
/// ```
/// use drupe_runtime_llm::StopStrings;
/// let mut stops = StopStrings::new(["\nUser:"]);
/// assert_eq!(stops.push("Hello\nUs"), "Hello");
/// assert_eq!(stops.push("ed"), "\nUsed");
/// assert_eq!(stops.push(" it.\nUser: and"), " it.");
/// assert_eq!(stops.found(), Some("\nUser:"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
    found: Option<usize>,
}

impl StopStrings {
    /// For these; empty ones are ignored.
    pub fn new<S: Into<String>>(stops: impl IntoIterator<Item = S>) -> StopStrings {
        let stops = stops.into_iter().map(Into::into).filter(|stop| !stop.is_empty()).collect();
        StopStrings { stops, ..StopStrings::default() }
    }

    /// Adds a piece; returns what is certain now to be text, which ends where the first stop string starts. After one
    /// was found nothing is text.
    pub fn push(&mut self, piece: &str) -> String {
        if self.found.is_some() {
            return String::new();
        }
        self.held.push_str(piece);
        let first = |(index, stop): (usize, &String)| Some((self.held.find(stop.as_str())?, index));
        let sure = match self.stops.iter().enumerate().filter_map(first).min() {
            Some((at, index)) => {
                self.found = Some(index);
                at
            }
            None => self.held.len() - self.start_of_stop(),
        };
        let rest = self.held.split_off(sure);
        std::mem::replace(&mut self.held, rest)
    }

    /// The stop string that was found.
    pub fn found(&self) -> Option<&str> {
        self.found.map(|index| self.stops[index].as_str())
    }

    /// The end of the text, held back for a stop string that has not come.
    pub fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        if self.found.is_some() { String::new() } else { held }
    }

    /// The length of the longest end of the text that a stop string starts with.
    fn start_of_stop(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let lengths = (1..longest.min(self.held.len() + 1)).rev();
        let mut starts = lengths.filter(|length| {
            let end = self.held.as_bytes()[self.held.len() - length..].iter();
            self.stops.iter().any(|stop| stop.len() > *length && stop.as_bytes()[..*length].iter().eq(end.clone()))
        });
        starts.next().unwrap_or(0)
    }
}
