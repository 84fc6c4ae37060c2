//! Dimensions as the command line writes them.

use drupe_ir::Dim;

/// A dimension as people write it: numbers, symbols, `+ - * /` (rounded down) and parentheses.
pub fn parse_dim(text: &str) -> Result<Dim, String> {
    let mut parser = DimParser { rest: text.trim() };
    let dim = parser.sum().ok_or_else(|| format!("`{text}` is not a dimension: numbers, names, + - * / ( )"))?;
    if parser.rest.is_empty() {
        Ok(dim)
    } else {
        Err(format!("`{text}` is not a dimension: `{}` is left over", parser.rest))
    }
}

struct DimParser<'a> {
    rest: &'a str,
}

impl DimParser<'_> {
    fn eat(&mut self, token: char) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Option<Dim> {
        let mut sum = self.product()?;
        loop {
            if self.eat('+') {
                sum = &sum + &self.product()?;
            } else if self.eat('-') {
                sum = &sum - &self.product()?;
            } else {
                return Some(sum);
            }
        }
    }

    fn product(&mut self) -> Option<Dim> {
        let mut product = self.atom()?;
        loop {
            if self.eat('*') {
                product = &product * &self.atom()?;
            } else if self.eat('/') {
                product = product.floor_div(&self.atom()?);
            } else {
                return Some(product);
            }
        }
    }

    fn atom(&mut self) -> Option<Dim> {
        if self.eat('(') {
            let inner = self.sum()?;
            return self.eat(')').then_some(inner);
        }
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let (token, rest) = self.rest.split_at(self.rest.find(|c| !word(c)).unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        match token.chars().next()? {
            '0'..='9' => token.parse().ok().map(Dim::Const),
            _ => Some(Dim::symbol(token)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_read_as_they_print() {
        for text in ["224", "B", "32*H", "2*S + 1", "H*W - 1"] {
            assert_eq!(parse_dim(text).unwrap().to_string(), text);
        }
        assert_eq!(parse_dim("(H + 2) * 3").unwrap().to_string(), "3*H + 6");
        assert_eq!(parse_dim("(4*H - 1) / 4").unwrap().to_string(), "H - 1");
        assert!(parse_dim("3*").unwrap_err().contains("not a dimension"));
        assert!(parse_dim("a b").unwrap_err().contains("`b` is left over"));
        assert!(parse_dim("99999999999999999999").is_err());
    }
}
