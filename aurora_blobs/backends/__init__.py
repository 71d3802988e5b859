"""Where bytes lie: one class per kind of store, behind one seam."""
