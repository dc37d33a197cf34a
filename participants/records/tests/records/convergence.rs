//! Nodes that write, decide and hear of each other in any order: their copies are what a model says, at each moment.

use proptest::prelude::*;

use super::world::{World, ops};
use super::{config, rules};

proptest! {
    #![proptest_config(config())]

    /// [`World`] checks every copy after every step. In the end all are equal, and every write is accounted for.
    #[test]
    fn copies_that_know_the_same_are_the_same(rule in rules(), nodes in 2..=5_usize, ops in ops()) {
        let mut world = World::new(rule, nodes);
        for op in &ops {
            world.apply(op);
        }
        world.heal();
        world.audit();
    }
}
