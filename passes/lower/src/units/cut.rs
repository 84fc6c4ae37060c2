//! Minimum cuts, by augmenting along shortest paths (Edmonds and Karp, 1972).

use std::collections::VecDeque;

/// A directed graph with capacities.
pub(super) struct Network {
    /// By node: its edges.
    edges: Vec<Vec<usize>>,
    /// By edge: where to, and what is left of its capacity. Edge `n ^ 1` goes back.
    ends: Vec<(usize, f64)>,
}

/// Less than this is nothing: capacities are microseconds.
const NOTHING: f64 = 1e-6;

impl Network {
    pub(super) fn new(nodes: usize) -> Network {
        Network { edges: vec![Vec::new(); nodes], ends: Vec::new() }
    }

    /// An edge that is cut, at the price `capacity`, if `from` is on the source's side and `to` on the sink's.
    pub(super) fn edge(&mut self, from: usize, to: usize, capacity: f64) {
        self.add(from, to, capacity, 0.0);
    }

    /// An edge that is cut if its ends are on different sides.
    pub(super) fn edge_both(&mut self, a: usize, b: usize, capacity: f64) {
        self.add(a, b, capacity, capacity);
    }

    fn add(&mut self, from: usize, to: usize, there: f64, back: f64) {
        self.edges[from].push(self.ends.len());
        self.ends.push((to, there));
        self.edges[to].push(self.ends.len());
        self.ends.push((from, back));
    }

    /// For every node whether a cheapest cut leaves it on the source's side.
    pub(super) fn source_side(mut self, source: usize, sink: usize) -> Vec<bool> {
        loop {
            let came_by = self.search(source);
            if came_by[sink].is_none() {
                return (0..self.edges.len()).map(|node| node == source || came_by[node].is_some()).collect();
            }
            let mut path = Vec::new();
            let mut at = sink;
            while at != source {
                let edge = came_by[at].expect("the path leads back to the source");
                path.push(edge);
                at = self.ends[edge ^ 1].0;
            }
            let least = path.iter().map(|edge| self.ends[*edge].1).fold(f64::INFINITY, f64::min);
            for edge in path {
                self.ends[edge].1 -= least;
                self.ends[edge ^ 1].1 += least;
            }
        }
    }

    /// By which edge each node is reached, on a shortest way with capacity left.
    fn search(&self, source: usize) -> Vec<Option<usize>> {
        let mut came_by = vec![None; self.edges.len()];
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            for edge in &self.edges[node] {
                let (to, left) = self.ends[*edge];
                if left > NOTHING && to != source && came_by[to].is_none() {
                    came_by[to] = Some(*edge);
                    queue.push_back(to);
                }
            }
        }
        came_by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_cut_weighs_copies_against_time() {
        // Three steps in a row; the one in the middle is slow on the source's side.
        let cut = |copy: f64| {
            let (source, sink) = (3, 4);
            let mut network = Network::new(5);
            for (node, there, here) in [(0, 10.0, 1.0), (1, 1.0, 10.0), (2, 10.0, 1.0)] {
                network.edge(source, node, there);
                network.edge(node, sink, here);
            }
            network.edge_both(0, 1, copy);
            network.edge_both(1, 2, copy);
            network.source_side(source, sink)[..3].to_vec()
        };
        assert_eq!(cut(2.0), [true, false, true]);
        assert_eq!(cut(5.0), [true, true, true]);
    }
}
