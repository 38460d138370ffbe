"""Where the newest state lives: one record for each (view, entity), in a store of the user's choice."""
