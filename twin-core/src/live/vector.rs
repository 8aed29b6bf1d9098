//! A persistent array, for columns: read by index again and again, and changed a page at a time.
//!
//! # Invariants
//! - All leaves are equally deep, and an index's digits of six bits are the way to its leaf.
//! - A clone shares everything; a change copies one node of each level.
//! - Beyond `len` there are only defaults.

use std::ops::Index;
use std::sync::Arc;

/// Bits of an index that one level takes.
const BITS: u32 = 6;
const FAN: usize = 1 << BITS;

/// A persistent array.
#[derive(Clone, Debug)]
pub(crate) struct Vector<T> {
    root: Node<T>,
    /// Levels above the leaves.
    depth: u32,
    len: usize,
}

#[derive(Debug)]
enum Node<T> {
    /// Nothing was set under it yet.
    Empty,
    Leaf(Arc<[T; FAN]>),
    Inner(Arc<[Self; FAN]>),
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Leaf(items) => Self::Leaf(Arc::clone(items)),
            Self::Inner(nodes) => Self::Inner(Arc::clone(nodes)),
        }
    }
}

impl<T> Vector<T> {
    pub(crate) fn new() -> Self {
        Self {
            root: Node::Empty,
            depth: 0,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        if index >= self.len {
            return None;
        }
        let mut node = &self.root;
        let mut shift = self.depth * BITS;
        loop {
            match node {
                Node::Empty => return None,
                Node::Leaf(items) => return items.get(index % FAN),
                Node::Inner(nodes) => {
                    node = &nodes[(index >> shift) % FAN];
                    shift = shift.saturating_sub(BITS);
                }
            }
        }
    }
}

impl<T: Clone + Default> Vector<T> {
    /// Replaces what stands at an index, which is below the length.
    pub(crate) fn set(&mut self, index: usize, value: T) {
        debug_assert!(index < self.len, "{index} of {}", self.len);
        *self.root.at(index, self.depth * BITS) = value;
    }

    pub(crate) fn push_back(&mut self, value: T) {
        if self.len == FAN << (self.depth * BITS) {
            let below = std::mem::replace(&mut self.root, Node::Empty);
            let mut nodes = [const { Node::Empty }; FAN];
            nodes[0] = below;
            self.root = Node::Inner(Arc::new(nodes));
            self.depth += 1;
        }
        self.len += 1;
        self.set(self.len - 1, value);
    }

    pub(crate) fn pop_back(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        let value = std::mem::take(self.root.at(last, self.depth * BITS));
        self.len = last;
        Some(value)
    }
}

impl<T: Clone + Default> Node<T> {
    /// The place of an index, made where there is none yet.
    fn at(&mut self, index: usize, shift: u32) -> &mut T {
        match self {
            Self::Leaf(items) => &mut Arc::make_mut(items)[index % FAN],
            Self::Inner(nodes) => {
                Arc::make_mut(nodes)[(index >> shift) % FAN].at(index, shift.saturating_sub(BITS))
            }
            Self::Empty => {
                *self = if shift == 0 {
                    Self::Leaf(Arc::new(std::array::from_fn(|_| T::default())))
                } else {
                    Self::Inner(Arc::new([const { Self::Empty }; FAN]))
                };
                self.at(index, shift)
            }
        }
    }
}

impl<T> Index<usize> for Vector<T> {
    type Output = T;

    #[inline]
    #[expect(clippy::expect_used, reason = "as for every array")]
    fn index(&self, index: usize) -> &T {
        self.get(index).expect("the index is below the length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_plain_array_does_and_a_clone_keeps_its_own() {
        // One beyond what two levels hold, so that a third begins.
        const MANY: usize = FAN * FAN + 1;
        let mut vector = Vector::new();
        let mut plain: Vec<Option<usize>> = Vec::new();
        let mut kept = Vec::new();
        for i in 0..MANY {
            vector.push_back(Some(i));
            plain.push(Some(i));
            if [1, FAN, FAN + 1, MANY - 1].contains(&i) {
                kept.push((vector.clone(), plain.clone()));
                vector.set(i / 2, None);
                plain[i / 2] = None;
            }
        }
        kept.push((vector.clone(), plain.clone()));
        for i in (0..MANY).rev() {
            assert_eq!(vector.pop_back(), Some(plain[i]));
            assert_eq!(vector.len(), i);
            assert_eq!(vector.get(i), None);
        }
        assert_eq!(vector.pop_back(), None);
        vector.push_back(Some(7));
        assert_eq!(vector[0], Some(7));
        for (vector, plain) in kept {
            assert_eq!(vector.len(), plain.len());
            assert!((0..plain.len()).all(|i| vector[i] == plain[i]));
        }
    }
}
