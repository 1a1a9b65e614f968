"""3D point clouds: generate, complete and export shapes, scored by the field's own protocol."""
