"""One runnable script a figure: it starts what it needs, measures, and judges its own bar."""
