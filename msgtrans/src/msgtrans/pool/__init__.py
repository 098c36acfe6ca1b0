"""The room for what is kept to be used again: connections and buffers."""
